// Status and leadership: over HTTP.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "main/ctl/answers.h"
#include "main/ctl/client.h"

namespace flux::main::ctl {
namespace {

// With more groups than this, each node is one row.
constexpr size_t kGroupsShownMax = 20;

using Rows = std::vector<std::vector<std::string>>;

std::string state_of(const json::object& status) {
  for (const json::value& group : list(status, "groups")) {
    if (group.as_object().contains("halted")) return "HALTED";
  }
  return text(status, "draining") == "true" ? "draining" : "up";
}

// What a node says of each of its groups.
void add_group_rows(Rows& rows, const json::object& node, const json::object& status) {
  for (const json::value& each : list(status, "groups")) {
    const json::object& group = each.as_object();
    rows.push_back({text(node, "id"), text(node, "name"), text(node, "http_address"),
                    group.contains("halted")             ? "HALTED"
                    : text(status, "draining") == "true" ? "draining"
                                                         : "up",
                    text(group, "id"), text(group, "role"), text(group, "term"), text(group, "leader"),
                    text(group, "commit_index"), text(group, "applied_index"), text(group, "keys"),
                    text(status, "engine")});
  }
}

// What it says of all of them together.
void add_node_row(Rows& rows, const json::object& node, const json::object& status) {
  size_t leading = 0;
  size_t leaderless = 0;
  uint64_t keys = 0;
  uint64_t behind = 0;
  for (const json::value& each : list(status, "groups")) {
    const json::object& group = each.as_object();
    if (text(group, "role") == "leader") ++leading;
    if (number(group, "leader") == 0) ++leaderless;
    keys += number(group, "keys");
    behind += number(group, "commit_index") - std::min(number(group, "commit_index"), number(group, "applied_index"));
  }
  rows.push_back({text(node, "id"), text(node, "name"), text(node, "http_address"), state_of(status),
                  std::to_string(list(status, "groups").size()), std::to_string(leading), std::to_string(leaderless),
                  std::to_string(behind), std::to_string(keys), text(status, "engine")});
}

Status print_status(const Common& common) {
  if (common.format() == Format::kJson) {
    FLUX_TRY(const std::string body, ask(common, "GET", "/status", ""));
    fmt::print("{}", body);
    return {};
  }
  // Every node's own view, in one table: the first endpoint names the others.
  FLUX_TRY(const json::object first, node_status(common));
  fmt::print("cluster {}\n\n", text(first, "cluster_id"));
  std::vector<std::pair<json::object, Result<json::object>>> answers;
  std::set<uint64_t> groups;
  for (const json::value& each : list(first, "nodes")) {
    const json::object& node = each.as_object();
    Common one = common;
    one.endpoints = text(node, "http_address");
    const bool self = text(node, "id") == text(first, "node_id");
    Result<json::object> status = self ? Result<json::object>(first)
                                  : one.endpoints.empty()
                                      ? Result<json::object>(Status(ErrorCode::kUnavailable, "address not known yet"))
                                      : node_status(one);
    if (status.ok()) {
      for (const json::value& group : list(*status, "groups")) groups.insert(number(group.as_object(), "id"));
    }
    answers.emplace_back(node, std::move(status));
  }
  const bool by_group = groups.size() <= kGroupsShownMax;
  Rows rows = {by_group ? Rows::value_type{"NODE", "NAME", "HTTP", "STATE", "GROUP", "ROLE", "TERM", "LEADER", "COMMIT",
                                           "APPLIED", "KEYS", "ENGINE"}
                        : Rows::value_type{"NODE", "NAME", "HTTP", "STATE", "GROUPS", "LEADING", "LEADERLESS", "BEHIND",
                                           "KEYS", "ENGINE"}};
  for (const auto& [node, status] : answers) {
    if (!status.ok()) {
      rows.push_back({text(node, "id"), text(node, "name"), text(node, "http_address"), "unreachable"});
    } else if (by_group && !list(*status, "groups").empty()) {
      add_group_rows(rows, node, *status);
    } else if (by_group) {
      rows.push_back({text(node, "id"), text(node, "name"), text(node, "http_address"), state_of(*status), "-"});
    } else {
      add_node_row(rows, node, *status);
    }
  }
  print_table(rows);
  for (const json::value& warning : list(first, "warnings")) {
    fmt::print("\nwarning: {}\n", std::string(warning.as_string()));
  }
  return {};
}

}  // namespace

Result<std::vector<env::Address>> parse_endpoints(const std::string& all) {
  std::vector<env::Address> out;
  for (size_t start = 0; start <= all.size();) {
    const size_t end = std::min(all.find(',', start), all.size());
    FLUX_TRY(env::Address address, env::Address::parse(all.substr(start, end - start)));
    out.push_back(std::move(address));
    start = end + 1;
  }
  return out;
}

Result<std::string> ask(const Common& common, std::string_view method, std::string_view path, std::string_view body) {
  FLUX_TRY(const std::vector<env::Address> endpoints, parse_endpoints(common.endpoints));
  Status last(ErrorCode::kUnavailable, "no endpoint was given");
  for (const env::Address& endpoint : endpoints) {
    Result<HttpReply> reply = http(endpoint, method, path, body, common.timeout());
    if (!reply.ok()) {
      last = reply.status();
      continue;
    }
    if (reply->status == 200) return std::move(reply->body);
    const Result<json::object> error = parse_object(reply->body);
    if (error.ok() && error->contains("error") && error->at("error").is_object()) {
      return Status(ErrorCode::kPrecondition, text(error->at("error").get_object(), "message"));
    }
    return Status(ErrorCode::kPrecondition, fmt::format("HTTP {}: {}", reply->status, reply->body));
  }
  return last.with("no endpoint answers (--endpoints names the nodes' HTTP addresses)");
}

namespace {

// What the nodes say of one of their doors.
Result<std::vector<env::Address>> told_endpoints(const Common& common, std::string_view field) {
  FLUX_TRY(const json::object status, node_status(common));
  std::vector<env::Address> out;
  for (const json::value& each : list(status, "nodes")) {
    const std::string address = text(each.as_object(), field);
    if (address.empty()) continue;
    FLUX_TRY(env::Address parsed, env::Address::parse(address));
    out.push_back(std::move(parsed));
  }
  return out;
}

}  // namespace

Result<std::vector<env::Address>> resp_endpoints(const Common& common) {
  if (!common.resp.empty()) return parse_endpoints(common.resp);
  FLUX_TRY(std::vector<env::Address> out, told_endpoints(common, "resp_address"));
  if (!out.empty()) return out;
  return Status(ErrorCode::kUnavailable, "the nodes have not told their RESP addresses yet; give --resp");
}

Result<std::vector<env::Address>> wire_endpoints(const Common& common) {
  FLUX_TRY(std::vector<env::Address> out, told_endpoints(common, "wire_address"));
  if (!out.empty()) return out;
  return Status(ErrorCode::kUnavailable,
                "no node takes clients of the wire protocol, or has told where yet; start nodes with --listen-wire");
}

void add_status_commands(CLI::App& app, const Common& common, Run& run) {
  CLI::App* status = app.add_subcommand("status", "Show every node, its role and how far it is");
  status->callback([&] { run = [&common] { return print_status(common); }; });

  struct Arguments {
    std::string node;
    uint64_t group = 1;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* transfer = app.add_subcommand("transfer-leader", "Hand leadership over");
  transfer->add_option("--to", arguments->node,
                       "Id or name of the new leader; else the follower that is furthest along");
  transfer->add_option("--group", arguments->group, "Which group")->capture_default_str();
  transfer->callback([&common, &run, arguments] {
    run = [&common, arguments]() -> Status {
      uint64_t target = 0;
      if (!arguments->node.empty()) {
        FLUX_TRY(const json::object answer, node_status(common));
        FLUX_TRY(target, node_id(answer, arguments->node));
      }
      const json::object body{{"group", arguments->group}, {"target", target}};
      FLUX_TRY(const std::string reply, ask(common, "POST", "/leader/transfer", json::serialize(body)));
      fmt::print("{}\n", common.format() == Format::kJson ? reply : "Leadership has moved.");
      return {};
    };
  });
}

}  // namespace flux::main::ctl
