// get, put, del, scan: over RESP, at whichever node answers.
#include <fmt/core.h>

#include <boost/json.hpp>

#include "main/ctl/client.h"
#include "main/ctl/commands.h"

namespace flux::main::ctl {
namespace {

namespace json = boost::json;

Result<std::unique_ptr<RespClient>> connect(const Common& common) {
  FLUX_TRY(const std::vector<env::Address> endpoints, resp_endpoints(common));
  Status last(ErrorCode::kUnavailable, "no node");
  for (const env::Address& endpoint : endpoints) {
    Result<std::unique_ptr<RespClient>> client = RespClient::connect(endpoint, common.timeout());
    if (client.ok()) return client;
    last = client.status();
  }
  return last;
}

// Calls, and makes a Status of an error reply.
Result<RespValue> call(RespClient& client, const std::vector<std::string>& arguments) {
  FLUX_TRY(RespValue value, client.call(arguments));
  if (value.kind == RespValue::Kind::kError) return Status(ErrorCode::kPrecondition, value.text);
  return value;
}

Status get(const Common& common, const std::string& key) {
  FLUX_TRY(const std::unique_ptr<RespClient> client, connect(common));
  FLUX_TRY(const RespValue value, call(*client, {"GET", key}));
  if (value.kind == RespValue::Kind::kNull) return Status(ErrorCode::kNotFound, "there is no such key");
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(json::object{{"key", escape(key)}, {"value", escape(value.text)}}));
  } else {
    fmt::print("{}\n", value.text);  // as it is, so that it can be piped
  }
  return {};
}

Status put(const Common& common, const std::string& key, const std::string& value, uint64_t ttl_seconds) {
  FLUX_TRY(const std::unique_ptr<RespClient> client, connect(common));
  std::vector<std::string> arguments = {"SET", key, value};
  if (ttl_seconds != 0) {
    arguments.emplace_back("EX");
    arguments.push_back(std::to_string(ttl_seconds));
  }
  FLUX_RETURN_IF_ERROR(call(*client, arguments).status());
  fmt::print("{}\n", common.format() == Format::kJson ? R"({"ok":true})" : "OK");
  return {};
}

Status del(const Common& common, const std::vector<std::string>& keys) {
  FLUX_TRY(const std::unique_ptr<RespClient> client, connect(common));
  std::vector<std::string> arguments = {"DEL"};
  arguments.insert(arguments.end(), keys.begin(), keys.end());
  FLUX_TRY(const RespValue value, call(*client, arguments));
  fmt::print("{}\n", common.format() == Format::kJson ? fmt::format(R"({{"deleted":{}}})", value.integer)
                                                      : fmt::format("{} deleted", value.integer));
  return {};
}

// A pattern that matches exactly what begins with `prefix`.
std::string prefix_pattern(const std::string& prefix) {
  std::string pattern;
  for (const char c : prefix) {
    if (std::string_view("*?[]^\\").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern + '*';
}

Status scan(const Common& common, const std::string& prefix, uint64_t limit, bool values) {
  FLUX_TRY(const std::unique_ptr<RespClient> client, connect(common));
  std::string cursor = "0";
  uint64_t printed = 0;
  do {
    FLUX_TRY(const RespValue page, call(*client, {"SCAN", cursor, "MATCH", prefix_pattern(prefix), "COUNT", "1000"}));
    if (page.items.size() != 2) return Status(ErrorCode::kCorruption, "the answer to SCAN is not a page");
    cursor = page.items[0].text;
    for (const RespValue& key : page.items[1].items) {
      if (printed == limit) return {};
      std::string value;
      if (values) {
        FLUX_TRY(const RespValue found, call(*client, {"GET", key.text}));
        if (found.kind == RespValue::Kind::kNull) continue;  // deleted meanwhile
        value = found.text;
      }
      ++printed;
      if (common.format() == Format::kJson) {
        json::object line{{"key", escape(key.text)}};
        if (values) line["value"] = escape(value);
        fmt::print("{}\n", json::serialize(line));
      } else {
        fmt::print("{}{}{}\n", escape(key.text), values ? "\t" : "", escape(value));
      }
    }
  } while (cursor != "0");
  return {};
}

}  // namespace

void add_data_commands(CLI::App& app, const Common& common, Run& run) {
  struct Arguments {
    std::vector<std::string> keys;
    std::string key;
    std::string value;
    uint64_t ttl = 0;
    uint64_t limit = 1000;
    bool values = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* get_command = app.add_subcommand("get", "Print a value");
  get_command->add_option("key", arguments->key)->required();
  get_command->callback(
      [&common, &run, arguments] { run = [&common, arguments] { return get(common, arguments->key); }; });
  CLI::App* put_command = app.add_subcommand("put", "Set a value");
  put_command->add_option("key", arguments->key)->required();
  put_command->add_option("value", arguments->value)->required();
  put_command->add_option("--ttl", arguments->ttl, "Seconds until it expires; 0 is never")->capture_default_str();
  put_command->callback([&common, &run, arguments] {
    run = [&common, arguments] { return put(common, arguments->key, arguments->value, arguments->ttl); };
  });
  CLI::App* del_command = app.add_subcommand("del", "Delete keys");
  del_command->add_option("keys", arguments->keys)->required();
  del_command->callback(
      [&common, &run, arguments] { run = [&common, arguments] { return del(common, arguments->keys); }; });
  CLI::App* scan_command = app.add_subcommand("scan", "Print the keys that begin with a prefix");
  scan_command->add_option("prefix", arguments->key);
  scan_command->add_option("--limit", arguments->limit, "How many at the most")->capture_default_str();
  scan_command->add_flag("--values", arguments->values, "Print the values too");
  scan_command->callback([&common, &run, arguments] {
    run = [&common, arguments] { return scan(common, arguments->key, arguments->limit, arguments->values); };
  });
}

}  // namespace flux::main::ctl
