#include "server/http/body.h"

#include <fmt/core.h>

#include <algorithm>
#include <boost/json.hpp>

#include "api/key_text.h"

namespace flux::server::http {
namespace {

namespace json = boost::json;

std::optional<uint64_t> unsigned_of(const json::value& value) {
  if (value.is_uint64()) return value.get_uint64();
  if (value.is_int64() && value.get_int64() >= 0) return static_cast<uint64_t>(value.get_int64());
  return std::nullopt;
}

}  // namespace

Result<Body> Body::parse(std::string_view text) {
  json::parse_options limits;
  limits.max_depth = 8;
  boost::system::error_code error;
  json::value value = json::parse(text.empty() ? "{}" : text, error, {}, limits);
  if (error) return Status(ErrorCode::kInvalidArgument, "the body is not a JSON object: " + error.message());
  if (!value.is_object()) return Status(ErrorCode::kInvalidArgument, "the body is not a JSON object");
  return Body(std::move(value.get_object()));
}

const json::value* Body::find(std::string_view name, Need need) {
  asked_.emplace_back(name);
  const json::value* value = object_.if_contains(name);
  if (value == nullptr && need == Need::kRequired) refuse(fmt::format("\"{}\" is missing", name));
  return value;
}

void Body::text(std::string_view name, std::string& out, Need need) {
  const json::value* value = find(name, need);
  if (value == nullptr) return;
  if (!value->is_string()) return refuse(fmt::format("\"{}\" is not a text", name));
  if (value->get_string().empty()) return refuse(fmt::format("\"{}\" is empty", name));
  out = value->get_string();
}

void Body::word(std::string_view name, std::string& out, const std::vector<std::string_view>& allowed, Need need) {
  const json::value* value = find(name, need);
  if (value == nullptr) return;
  const std::string_view word = value->is_string() ? std::string_view(value->get_string()) : std::string_view();
  if (std::find(allowed.begin(), allowed.end(), word) != allowed.end()) {
    out = word;
    return;
  }
  std::string words;
  for (const std::string_view each : allowed) words += fmt::format("{}\"{}\"", words.empty() ? "" : ", ", each);
  refuse(fmt::format("\"{}\" is none of {}", name, words));
}

void Body::flag(std::string_view name, bool& out, Need need) {
  const json::value* value = find(name, need);
  if (value == nullptr) return;
  if (!value->is_bool()) return refuse(fmt::format("\"{}\" is neither true nor false", name));
  out = value->get_bool();
}

void Body::key(std::string_view name, std::string& out, Need need) {
  std::string written;
  text(name, written, need);
  if (written.empty()) return;
  Result<std::string> bytes = api::parse_key_text(written);
  if (!bytes.ok()) return refuse(fmt::format("\"{}\": {}", name, bytes.status().message()));
  out = std::move(bytes).value();
}

void Body::keys(std::string_view name, std::vector<std::string>& out, Need need) {
  const json::value* value = find(name, need);
  if (value == nullptr) return;
  if (!value->is_array()) return refuse(fmt::format("\"{}\" is not an array", name));
  for (size_t i = 0; i < value->get_array().size(); ++i) {
    const json::value& element = value->get_array()[i];
    if (!element.is_string()) return refuse(fmt::format("\"{}\" has at {} what is not a text", name, i));
    Result<std::string> bytes = api::parse_key_text(element.get_string());
    if (!bytes.ok()) return refuse(fmt::format("\"{}\" at {}: {}", name, i, bytes.status().message()));
    out.push_back(std::move(bytes).value());
  }
}

void Body::ids(std::string_view name, std::vector<NodeId>& out, Need need) {
  const json::value* value = find(name, need);
  if (value == nullptr) return;
  if (!value->is_array()) return refuse(fmt::format("\"{}\" is not an array of ids", name));
  for (const json::value& element : value->get_array()) {
    const std::optional<uint64_t> id = unsigned_of(element);
    if (!id || *id == 0) return refuse(fmt::format("\"{}\" has what is not an id: a number from 1 on", name));
    out.emplace_back(*id);
  }
}

std::optional<uint64_t> Body::read_number(std::string_view name, Need need, uint64_t low, uint64_t high) {
  const json::value* value = find(name, need);
  if (value == nullptr) return std::nullopt;
  const std::optional<uint64_t> number = unsigned_of(*value);
  if (number && *number >= low && *number <= high) return number;
  refuse(fmt::format("\"{}\" is not a whole number from {} to {}", name, low, high));
  return std::nullopt;
}

void Body::refuse(std::string why) {
  if (problem_.ok()) problem_ = Status(ErrorCode::kInvalidArgument, std::move(why));
}

Status Body::finish() const {
  if (!problem_.ok()) return problem_;
  for (const auto& [name, value] : object_) {
    if (std::find(asked_.begin(), asked_.end(), std::string_view(name)) != asked_.end()) continue;
    std::string known;
    for (const std::string& each : asked_) known += (known.empty() ? "" : ", ") + each;
    return Status(ErrorCode::kInvalidArgument, fmt::format("\"{}\" is no field of this request; it takes {}",
                                                           std::string_view(name), known.empty() ? "none" : known));
  }
  return {};
}

}  // namespace flux::server::http
