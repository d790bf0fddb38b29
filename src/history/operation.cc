#include "history/operation.h"

#include <fmt/core.h>

#include <array>
#include <boost/json.hpp>

namespace flux::history {
namespace {

constexpr std::array<std::string_view, kKinds> kKindNames = {"get",    "set", "setnx",  "getset",
                                                             "delete", "add", "append", "expire"};
constexpr std::array<std::string_view, 3> kOutcomeNames = {"ok", "failed", "unknown"};

void append_string(std::string& out, std::string_view bytes) {
  out += '"';
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7F) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(byte));
    } else {
      out += c;
    }
  }
  out += '"';
}

// Back from UTF-8 to bytes: every code point stands for one.
Result<std::string> bytes_of(const boost::json::value& value, std::string_view field) {
  const Status bad(ErrorCode::kInvalidArgument, fmt::format("'{}' must be a string of \\u0000 to \\u00ff", field));
  const boost::json::string* text = value.if_string();
  if (text == nullptr) return bad;
  std::string out;
  for (size_t i = 0; i < text->size(); ++i) {
    const auto byte = static_cast<unsigned char>((*text)[i]);
    if (byte < 0x80) {
      out += static_cast<char>(byte);
    } else if ((byte == 0xC2 || byte == 0xC3) && i + 1 < text->size()) {
      out += static_cast<char>(((byte & 0x03) << 6) | (static_cast<unsigned char>((*text)[++i]) & 0x3F));
    } else {
      return bad;
    }
  }
  return out;
}

template <typename Enum, size_t N>
Result<Enum> named(const std::array<std::string_view, N>& names, std::string_view name, std::string_view field) {
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<Enum>(i);
  }
  return Status(ErrorCode::kInvalidArgument, fmt::format("'{}' cannot be '{}'", field, name.substr(0, 64)));
}

std::string quoted(const std::optional<std::string>& value) {
  if (!value) return "nothing";
  std::string out;
  append_string(out, *value);
  return out;
}

}  // namespace

std::string_view to_string(Kind kind) { return kKindNames.at(static_cast<size_t>(kind)); }

std::string_view to_string(Outcome outcome) { return kOutcomeNames.at(static_cast<size_t>(outcome)); }

std::string to_json(const Operation& operation) {
  std::string out = fmt::format(R"({{"client":{},"number":{},"key":)", operation.client, operation.number);
  append_string(out, operation.key);
  out += fmt::format(R"(,"kind":"{}","argument":)", to_string(operation.kind));
  append_string(out, operation.argument);
  out += fmt::format(R"(,"outcome":"{}","called_us":{})", to_string(operation.outcome), operation.called_us);
  if (operation.outcome == Outcome::kOk) {
    out += R"(,"result":)";
    operation.result ? append_string(out, *operation.result) : void(out += "null");
    out += fmt::format(R"(,"returned_us":{})", operation.returned_us);
  }
  out += '}';
  return out;
}

Result<Operation> operation_from_json(std::string_view line) {
  boost::system::error_code error;
  const boost::json::value parsed = boost::json::parse(boost::json::string_view(line.data(), line.size()), error);
  if (error || !parsed.is_object()) {
    return Status(ErrorCode::kInvalidArgument, "not a JSON object: " + error.message());
  }
  const boost::json::object& object = parsed.as_object();
  Status missing;
  const auto field = [&](std::string_view name) -> const boost::json::value& {
    static const boost::json::value kNull;
    const boost::json::value* value = object.if_contains(boost::json::string_view(name.data(), name.size()));
    if (value != nullptr) return *value;
    if (missing.ok()) missing = Status(ErrorCode::kInvalidArgument, fmt::format("'{}' is missing", name));
    return kNull;
  };
  const auto number = [&](std::string_view name) -> int64_t {
    const boost::json::value& value = field(name);
    if (const int64_t* whole = value.if_int64()) return *whole;
    if (missing.ok()) missing = Status(ErrorCode::kInvalidArgument, fmt::format("'{}' must be a number", name));
    return 0;
  };
  Operation operation;
  operation.client = static_cast<uint64_t>(number("client"));
  operation.number = static_cast<uint64_t>(number("number"));
  operation.called_us = number("called_us");
  FLUX_TRY(operation.key, bytes_of(field("key"), "key"));
  FLUX_TRY(operation.argument, bytes_of(field("argument"), "argument"));
  FLUX_TRY(const std::string kind, bytes_of(field("kind"), "kind"));
  FLUX_TRY(operation.kind, named<Kind>(kKindNames, kind, "kind"));
  FLUX_TRY(const std::string outcome, bytes_of(field("outcome"), "outcome"));
  FLUX_TRY(operation.outcome, named<Outcome>(kOutcomeNames, outcome, "outcome"));
  if (operation.outcome == Outcome::kOk) {
    operation.returned_us = number("returned_us");
    if (const boost::json::value& result = field("result"); !result.is_null()) {
      FLUX_TRY(operation.result, bytes_of(result, "result"));
    }
    if (missing.ok() && operation.returned_us < operation.called_us) {
      missing = Status(ErrorCode::kInvalidArgument, "'returned_us' is before 'called_us'");
    }
  }
  FLUX_RETURN_IF_ERROR(missing);
  return operation;
}

std::string to_text(const Operation& operation) {
  const auto seconds = [](int64_t us) { return static_cast<double>(us) / 1e6; };
  std::string out =
      fmt::format("client {} #{}  {:.6f}..", operation.client, operation.number, seconds(operation.called_us));
  out += operation.outcome == Outcome::kOk ? fmt::format("{:.6f}", seconds(operation.returned_us)) : "?";
  out += fmt::format("  {} {}", to_string(operation.kind), quoted(operation.key));
  if (operation.kind != Kind::kGet && operation.kind != Kind::kDelete) out += " " + quoted(operation.argument);
  out += " -> ";
  if (operation.outcome != Outcome::kOk) {
    out += to_string(operation.outcome);
  } else {
    out += operation.kind == Kind::kSet ? "ok" : quoted(operation.result);
  }
  return out;
}

}  // namespace flux::history
