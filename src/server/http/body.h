// The JSON object in a request's body, read field by field.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/status.h"
#include "base/types.h"

namespace flux::server::http {

enum class Need : uint8_t { kRequired, kOptional };

// Keeps the first thing that is wrong, for finish(). A field that is optional and absent leaves its value as it was.
class Body {
 public:
  // An empty text is an empty object. kInvalidArgument: it is no JSON object.
  static Result<Body> parse(std::string_view text);

  void text(std::string_view name, std::string& out, Need need = Need::kRequired);
  // One of a few words.
  void word(std::string_view name, std::string& out, const std::vector<std::string_view>& allowed,
            Need need = Need::kRequired);
  void flag(std::string_view name, bool& out, Need need = Need::kRequired);
  // A key as people write it (api/key_text.h).
  void key(std::string_view name, std::string& out, Need need = Need::kRequired);
  void keys(std::string_view name, std::vector<std::string>& out, Need need = Need::kRequired);
  // An integer or a strong id, from `low` on.
  template <typename T>
  void number(std::string_view name, T& out, Need need = Need::kRequired, uint64_t low = 0) {
    using Rep = typename RepOf<T>::type;
    const std::optional<uint64_t> value = read_number(name, need, low, std::numeric_limits<Rep>::max());
    if (value) out = T(static_cast<Rep>(*value));
  }
  // The id of something that there is.
  template <typename T>
  void id(std::string_view name, T& out, Need need = Need::kRequired) {
    number(name, out, need, 1);
  }
  void ids(std::string_view name, std::vector<NodeId>& out, Need need = Need::kRequired);

  bool has(std::string_view name) const { return object_.contains(name); }
  // For what no field alone can tell.
  void refuse(std::string why);

  // kInvalidArgument: what was wrong first, or a field that nobody asked for.
  Status finish() const;

 private:
  template <typename T>
  struct RepOf {
    using type = T;
  };
  template <typename Tag, typename Rep>
  struct RepOf<StrongId<Tag, Rep>> {
    using type = Rep;
  };

  explicit Body(boost::json::object object) : object_(std::move(object)) {}
  // Null if the field is absent; a required one is then missed.
  const boost::json::value* find(std::string_view name, Need need);
  std::optional<uint64_t> read_number(std::string_view name, Need need, uint64_t low, uint64_t high);

  boost::json::object object_;
  std::vector<std::string> asked_;
  Status problem_;
};

}  // namespace flux::server::http
