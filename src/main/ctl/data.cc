// get, put, del, scan: over RESP, at whichever node answers.
#include <fmt/core.h>

#include <algorithm>

#include "api/keyspace.h"
#include "main/ctl/answers.h"
#include "main/ctl/client.h"
#include "main/ctl/commands.h"

namespace flux::main::ctl {
namespace {

// Calls, and makes a Status of an error reply.
Result<RespValue> call(RespClient& client, const std::vector<std::string>& arguments) {
  FLUX_TRY(RespValue value, client.call(arguments));
  if (value.kind == RespValue::Kind::kError) return Status(ErrorCode::kPrecondition, value.text);
  return value;
}

// A connection that works in a keyspace.
Result<std::unique_ptr<RespClient>> connect(const Common& common, const std::string& keyspace) {
  FLUX_TRY(const std::vector<env::Address> endpoints, resp_endpoints(common));
  Status last(ErrorCode::kUnavailable, "no node");
  for (const env::Address& endpoint : endpoints) {
    Result<std::unique_ptr<RespClient>> client = RespClient::connect(endpoint, common.timeout());
    last = client.status();
    if (!client.ok()) continue;
    if (keyspace != api::kDefaultKeyspaceName) FLUX_RETURN_IF_ERROR(call(**client, {"SELECT", keyspace}).status());
    return client;
  }
  return last;
}

Status get(const Common& common, const std::string& keyspace, const std::string& key) {
  FLUX_TRY(const std::unique_ptr<RespClient> client, connect(common, keyspace));
  FLUX_TRY(const RespValue value, call(*client, {"GET", key}));
  if (value.kind == RespValue::Kind::kNull) return Status(ErrorCode::kNotFound, "there is no such key");
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(json::object{{"key", escape(key)}, {"value", escape(value.text)}}));
  } else {
    fmt::print("{}\n", value.text);  // as it is, so that it can be piped
  }
  return {};
}

Status put(const Common& common, const std::string& keyspace, const std::string& key, const std::string& value,
           uint64_t ttl_seconds) {
  FLUX_TRY(const std::unique_ptr<RespClient> client, connect(common, keyspace));
  std::vector<std::string> arguments = {"SET", key, value};
  if (ttl_seconds != 0) {
    arguments.emplace_back("EX");
    arguments.push_back(std::to_string(ttl_seconds));
  }
  FLUX_RETURN_IF_ERROR(call(*client, arguments).status());
  fmt::print("{}\n", common.format() == Format::kJson ? R"({"ok":true})" : "OK");
  return {};
}

Status del(const Common& common, const std::string& keyspace, const std::vector<std::string>& keys) {
  FLUX_TRY(const std::unique_ptr<RespClient> client, connect(common, keyspace));
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

struct ScanArguments {
  std::string keyspace{api::kDefaultKeyspaceName};
  std::string prefix;
  std::string start;
  std::string end;
  uint64_t limit = 1000;
  bool values = false;
};

void print_pair(const Common& common, const std::string& key, const std::string* value) {
  if (common.format() == Format::kJson) {
    json::object line{{"key", escape(key)}};
    if (value != nullptr) line["value"] = escape(*value);
    fmt::print("{}\n", json::serialize(line));
  } else {
    fmt::print("{}{}{}\n", escape(key), value != nullptr ? "\t" : "", value != nullptr ? escape(*value) : "");
  }
}

// In the order of keys: what begins with the prefix and lies between start and end.
Status scan_in_order(const Common& common, RespClient& client, const ScanArguments& given) {
  std::string start = std::max(given.start, given.prefix);
  std::string end = api::after_prefix(given.prefix);
  if (end.empty() || (!given.end.empty() && given.end < end)) end = given.end;
  uint64_t left = given.limit;
  while (left > 0 && (end.empty() || start < end)) {
    std::vector<std::string> arguments = {"FLUX.SCAN", start, end, "COUNT",
                                          std::to_string(std::min<uint64_t>(left, 1000))};
    if (given.values) arguments.emplace_back("VALUES");
    FLUX_TRY(const RespValue page, call(client, arguments));
    if (page.items.size() != 2) return Status(ErrorCode::kCorruption, "the answer to FLUX.SCAN is not a page");
    const std::vector<RespValue>& items = page.items[1].items;
    const size_t width = given.values ? 2 : 1;
    for (size_t at = 0; at + width <= items.size(); at += width) {
      print_pair(common, items[at].text, given.values ? &items[at + 1].text : nullptr);
      --left;
    }
    if (page.items[0].kind == RespValue::Kind::kNull) break;
    start = page.items[0].text;
  }
  return {};
}

// In the order of slots.
Status scan_slots(const Common& common, RespClient& client, const ScanArguments& given) {
  std::string cursor = "0";
  uint64_t printed = 0;
  do {
    FLUX_TRY(const RespValue page,
             call(client, {"SCAN", cursor, "MATCH", prefix_pattern(given.prefix), "COUNT", "1000"}));
    if (page.items.size() != 2) return Status(ErrorCode::kCorruption, "the answer to SCAN is not a page");
    cursor = page.items[0].text;
    for (const RespValue& key : page.items[1].items) {
      if (printed == given.limit) return {};
      std::string value;
      if (given.values) {
        FLUX_TRY(const RespValue found, call(client, {"GET", key.text}));
        if (found.kind == RespValue::Kind::kNull) continue;  // deleted meanwhile
        value = found.text;
      }
      ++printed;
      print_pair(common, key.text, given.values ? &value : nullptr);
    }
  } while (cursor != "0");
  return {};
}

Status scan(const Common& common, const ScanArguments& given) {
  FLUX_TRY(const std::unique_ptr<RespClient> client, connect(common, given.keyspace));
  FLUX_TRY(const json::object view, cluster_view(common));
  bool in_order = false;
  for (const json::value& each : list(view, "keyspaces")) {
    in_order =
        in_order || (text(each.as_object(), "name") == given.keyspace && text(each.as_object(), "kind") == "range");
  }
  if (in_order) return scan_in_order(common, *client, given);
  if (!given.start.empty() || !given.end.empty()) {
    return Status(ErrorCode::kInvalidArgument,
                  "--start and --end need a range keyspace: keys of this one are not in order");
  }
  return scan_slots(common, *client, given);
}

}  // namespace

void add_data_commands(CLI::App& app, const Common& common, Run& run) {
  struct Arguments {
    std::vector<std::string> keys;
    std::string key;
    std::string value;
    uint64_t ttl = 0;
    ScanArguments scan;
  };
  auto arguments = std::make_shared<Arguments>();
  const auto add = [&](const char* name, const char* what, std::function<Status()> body) {
    CLI::App* command = app.add_subcommand(name, what);
    command->add_option("-k,--keyspace", arguments->scan.keyspace, "The keyspace")->capture_default_str();
    command->callback([&run, body = std::move(body)] { run = body; });
    return command;
  };
  const std::string& keyspace = arguments->scan.keyspace;
  CLI::App* get_command =
      add("get", "Print a value", [&common, arguments, &keyspace] { return get(common, keyspace, arguments->key); });
  get_command->add_option("key", arguments->key)->required();
  CLI::App* put_command = add("put", "Set a value", [&common, arguments, &keyspace] {
    return put(common, keyspace, arguments->key, arguments->value, arguments->ttl);
  });
  put_command->add_option("key", arguments->key)->required();
  put_command->add_option("value", arguments->value)->required();
  put_command->add_option("--ttl", arguments->ttl, "Seconds until it expires; 0 is never")->capture_default_str();
  CLI::App* del_command =
      add("del", "Delete keys", [&common, arguments, &keyspace] { return del(common, keyspace, arguments->keys); });
  del_command->add_option("keys", arguments->keys)->required();
  CLI::App* scan_command = add("scan", "Print the keys that begin with a prefix; of a range keyspace in their order",
                               [&common, arguments] { return scan(common, arguments->scan); });
  scan_command->add_option("prefix", arguments->scan.prefix);
  scan_command->add_option("--start", arguments->scan.start, "Begin with this key; range keyspaces");
  scan_command->add_option("--end", arguments->scan.end, "Stop before this key; range keyspaces");
  scan_command->add_option("--limit", arguments->scan.limit, "How many at the most")->capture_default_str();
  scan_command->add_flag("--values", arguments->scan.values, "Print the values too");
}

}  // namespace flux::main::ctl
