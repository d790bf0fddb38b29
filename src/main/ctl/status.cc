// Status, members, leadership: over HTTP.
#include <fmt/core.h>

#include <boost/json.hpp>

#include "main/ctl/client.h"
#include "main/ctl/commands.h"

namespace flux::main::ctl {
namespace {

namespace json = boost::json;

std::string text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr) return "";
  return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}

// Members of answers that are there by contract; an empty object where an old or strange server lacks one.
const json::array& list(const json::object& object, std::string_view name) {
  static const json::array kEmpty;
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_array() ? value->get_array() : kEmpty;
}

Result<json::object> parse_object(const std::string& body) {
  boost::system::error_code error;
  json::value value = json::parse(body, error);
  if (error || !value.is_object()) return Status(ErrorCode::kCorruption, "the node's answer is not a JSON object");
  return value.get_object();
}

Result<json::object> node_status(const Common& common) {
  FLUX_TRY(const std::string body, ask(common, "GET", "/status", ""));
  return parse_object(body);
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
  std::vector<std::vector<std::string>> rows = {
      {"NODE", "NAME", "HTTP", "STATE", "GROUP", "ROLE", "TERM", "LEADER", "COMMIT", "APPLIED", "KEYS", "ENGINE"}};
  for (const json::value& each : list(first, "nodes")) {
    const json::object& node = each.as_object();
    Common one = common;
    one.endpoints = text(node, "http_address");
    const bool self = text(node, "id") == text(first, "node_id");
    Result<json::object> status = self ? Result<json::object>(first)
                                  : one.endpoints.empty()
                                      ? Result<json::object>(Status(ErrorCode::kUnavailable, "address not known yet"))
                                      : node_status(one);
    if (!status.ok()) {
      rows.push_back({text(node, "id"), text(node, "name"), one.endpoints, "unreachable"});
      continue;
    }
    for (const json::value& group_value : list(*status, "groups")) {
      const json::object& group = group_value.as_object();
      const std::string state = group.contains("halted")              ? "HALTED"
                                : text(*status, "draining") == "true" ? "draining"
                                                                      : "up";
      rows.push_back({text(node, "id"), text(node, "name"), one.endpoints, state, text(group, "id"),
                      text(group, "role"), text(group, "term"), text(group, "leader"), text(group, "commit_index"),
                      text(group, "applied_index"), text(group, "keys"), text(*status, "engine")});
    }
  }
  print_table(rows);
  for (const json::value& warning : list(first, "warnings")) {
    fmt::print("\nwarning: {}\n", std::string(warning.as_string()));
  }
  return {};
}

Status print_members(const Common& common) {
  FLUX_TRY(const json::object status, node_status(common));
  if (common.format() == Format::kJson) {
    fmt::print("{}\n", json::serialize(status.at("nodes")));
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"NODE", "NAME", "PEER", "RESP", "HTTP", "ROLE"}};
  const json::array& groups = list(status, "groups");
  for (const json::value& each : list(status, "nodes")) {
    const json::object& node = each.as_object();
    std::string role = "not a member";
    if (!groups.empty()) {
      const json::object& group = groups.front().as_object();
      for (const json::value& id : list(group, "learners")) {
        if (id == node.at("id")) role = "learner";
      }
      for (const json::value& id : list(group, "voters")) {
        if (id == node.at("id")) role = text(node, "id") == text(group, "leader") ? "voter, leader" : "voter";
      }
    }
    rows.push_back({text(node, "id"), text(node, "name"), text(node, "peer_address"), text(node, "resp_address"),
                    text(node, "http_address"), role});
  }
  print_table(rows);
  return {};
}

// A node's id from its id or name.
Result<uint64_t> node_id(const Common& common, const std::string& wanted) {
  FLUX_TRY(const json::object status, node_status(common));
  std::string known;
  for (const json::value& each : list(status, "nodes")) {
    const json::object& node = each.as_object();
    if (text(node, "id") == wanted || text(node, "name") == wanted) return node.at("id").to_number<uint64_t>();
    known += fmt::format(" {} ({})", text(node, "id"), text(node, "name"));
  }
  return Status(ErrorCode::kNotFound, fmt::format("there is no node '{}'; known are:{}", wanted, known));
}

Status post(const Common& common, const std::string& path, const json::object& body, const std::string& done) {
  FLUX_TRY(const std::string answer, ask(common, "POST", path, json::serialize(body)));
  fmt::print("{}\n", common.format() == Format::kJson ? answer : done);
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

Result<std::vector<env::Address>> resp_endpoints(const Common& common) {
  if (!common.resp.empty()) return parse_endpoints(common.resp);
  FLUX_TRY(const json::object status, node_status(common));
  std::vector<env::Address> out;
  for (const json::value& each : list(status, "nodes")) {
    const std::string address = text(each.as_object(), "resp_address");
    if (address.empty()) continue;
    FLUX_TRY(env::Address parsed, env::Address::parse(address));
    out.push_back(std::move(parsed));
  }
  if (out.empty())
    return Status(ErrorCode::kUnavailable, "the nodes have not told their RESP addresses yet; give --resp");
  return out;
}

void add_status_commands(CLI::App& app, const Common& common, Run& run) {
  CLI::App* status = app.add_subcommand("status", "Show every node, its role and how far it is");
  status->callback([&] { run = [&common] { return print_status(common); }; });

  CLI::App* member = app.add_subcommand("member", "Show and change the members of the cluster");
  member->require_subcommand(1);
  member->add_subcommand("list", "Show the members")->callback([&] {
    run = [&common] { return print_members(common); };
  });

  struct Arguments {
    std::string node;
    bool learner = false;
    uint64_t group = 1;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* add = member->add_subcommand("add", "Add a node: it becomes a voter by itself once it has caught up");
  add->add_option("node", arguments->node, "NAME=HOST:PORT, the peer address it will listen on")->required();
  add->add_flag("--learner", arguments->learner, "Let it follow without a vote");
  add->callback([&common, &run, arguments] {
    run = [&common, arguments]() -> Status {
      const size_t equals = arguments->node.find('=');
      if (equals == std::string::npos || equals == 0) {
        return Status(ErrorCode::kInvalidArgument, fmt::format("'{}' is not NAME=HOST:PORT", arguments->node));
      }
      const std::string name = arguments->node.substr(0, equals);
      const std::string address = arguments->node.substr(equals + 1);
      return post(common, "/members/add", {{"name", name}, {"peer_address", address}, {"learner", arguments->learner}},
                  fmt::format("Added. Now start it: fluxkv server --name {} --listen-peer {} --join PEER-ADDRESS-OF-A-"
                              "MEMBER --data-dir ...",
                              name, address));
    };
  });
  for (const auto& [name, help, answer] :
       {std::tuple{"remove", "Remove a node from the cluster, for good", "Removed."},
        std::tuple{"promote", "Make a voter of a learner that has caught up", "Promoted."}}) {
    CLI::App* command = member->add_subcommand(name, help);
    command->add_option("node", arguments->node, "Id or name")->required();
    command->callback([&common, &run, arguments, path = fmt::format("/members/{}", name), done = std::string(answer)] {
      run = [&common, arguments, path, done]() -> Status {
        FLUX_TRY(const uint64_t id, node_id(common, arguments->node));
        return post(common, path, {{"node", id}}, done);
      };
    });
  }

  CLI::App* transfer = app.add_subcommand("transfer-leader", "Hand leadership over");
  transfer->add_option("--to", arguments->node,
                       "Id or name of the new leader; else the follower that is furthest along");
  transfer->add_option("--group", arguments->group, "Which group")->capture_default_str();
  transfer->callback([&common, &run, arguments] {
    run = [&common, arguments]() -> Status {
      uint64_t target = 0;
      if (!arguments->node.empty()) {
        FLUX_TRY(target, node_id(common, arguments->node));
      }
      return post(common, "/leader/transfer", {{"group", arguments->group}, {"target", target}},
                  "Leadership has moved.");
    };
  });
}

}  // namespace flux::main::ctl
