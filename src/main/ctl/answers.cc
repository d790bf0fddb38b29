#include "main/ctl/answers.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

namespace flux::main::ctl {

std::string text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr) return "";
  return value->is_string() ? std::string(value->get_string()) : json::serialize(*value);
}

uint64_t number(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr || !value->is_number()) return 0;
  boost::system::error_code error;
  const auto found = value->to_number<uint64_t>(error);
  return error ? 0 : found;
}

bool flag(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

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

Result<json::object> cluster_view(const Common& common, uint64_t config) {
  const std::string path = config == 0 ? "/cluster" : fmt::format("/cluster?config={}", config);
  FLUX_TRY(const std::string body, ask(common, "GET", path, ""));
  return parse_object(body);
}

namespace {

// The shards that a node has, by id.
std::map<uint64_t, json::object> shards_at(const Common& common, const std::string& http_address) {
  Common one = common;
  one.endpoints = http_address;
  std::map<uint64_t, json::object> shards;
  const Result<json::object> answer = cluster_view(one);
  if (!answer.ok()) return shards;
  for (const json::value& each : list(*answer, "shards")) {
    if (!text(each.as_object(), "state").empty()) shards.emplace(number(each.as_object(), "id"), each.as_object());
  }
  return shards;
}

}  // namespace

void measure_at_leaders(const Common& common, json::object& view) {
  std::map<uint64_t, uint64_t> leader_of;  // by group
  for (const json::value& each : list(view, "groups")) {
    leader_of[number(each.as_object(), "id")] = number(each.as_object(), "leader");
  }
  std::map<uint64_t, std::map<uint64_t, json::object>> measured;  // by leader
  for (const json::value& each : list(view, "nodes")) {
    const json::object& node = each.as_object();
    const uint64_t id = number(node, "id");
    const bool leads =
        std::any_of(leader_of.begin(), leader_of.end(), [&](const auto& pair) { return pair.second == id; });
    if (leads && !text(node, "http_address").empty()) measured[id] = shards_at(common, text(node, "http_address"));
  }
  json::value* shards = view.if_contains("shards");
  if (shards == nullptr || !shards->is_array()) return;
  for (json::value& each : shards->get_array()) {
    json::object& shard = each.as_object();
    const auto at = measured.find(leader_of[number(shard, "group")]);
    if (at == measured.end()) continue;
    const auto found = at->second.find(number(shard, "id"));
    if (found != at->second.end()) shard = found->second;
  }
}

Sizes::Sizes(const Common& common, json::object view) {
  measure_at_leaders(common, view);
  for (const json::value& each : list(view, "shards")) {
    const json::object& shard = each.as_object();
    shards_[number(shard, "id")] = number(shard, "bytes");
    groups_[number(shard, "group")] += number(shard, "bytes");
  }
}

uint64_t Sizes::of_shard(uint64_t shard) const {
  const auto found = shards_.find(shard);
  return found == shards_.end() ? 0 : found->second;
}

uint64_t Sizes::of_group(uint64_t group) const {
  const auto found = groups_.find(group);
  return found == groups_.end() ? 0 : found->second;
}

uint64_t bytes_of(const json::object& step, const Sizes& sizes) {
  const uint64_t said = number(step, "bytes_total");
  const std::string phase = text(step, "phase");
  if (said != 0 || (phase != "pending" && phase != "copying")) return said;
  const uint64_t shard = number(step, "shard");
  return shard != 0 ? sizes.of_shard(shard) : sizes.of_group(number(step, "group"));
}

Totals totals_of(const json::object& plan, const Sizes& sizes) {
  Totals out;
  for (const json::value& each : list(plan, "steps")) {
    const json::object& step = each.as_object();
    const std::string phase = text(step, "phase");
    ++out.steps;
    if (phase == "done" || phase == "undone" || phase == "failed") ++out.ended;
    out.bytes_done += number(step, "bytes_done");
    out.bytes_total += bytes_of(step, sizes);
    if (phase == "failed" && out.reason.empty()) out.reason = text(step, "what") + ": " + text(step, "reason");
  }
  return out;
}

const json::object* with_id(const json::array& elements, uint64_t id) {
  for (const json::value& each : elements) {
    if (each.is_object() && number(each.get_object(), "id") == id) return &each.get_object();
  }
  return nullptr;
}

Result<uint64_t> node_id(const json::object& answer, const std::string& wanted) {
  std::string known;
  for (const json::value& each : list(answer, "nodes")) {
    const json::object& node = each.as_object();
    if (text(node, "id") == wanted) return number(node, "id");
    if (text(node, "state") == "removed") continue;  // its name may have come back
    if (text(node, "name") == wanted) return number(node, "id");
    known += fmt::format(" {} ({})", text(node, "id"), text(node, "name"));
  }
  return Status(ErrorCode::kNotFound, fmt::format("there is no node '{}'; known are:{}", wanted, known));
}

std::string node_name(const json::object& answer, uint64_t id) {
  if (id == 0) return "-";
  const json::object* node = with_id(list(answer, "nodes"), id);
  return node == nullptr ? std::to_string(id) : text(*node, "name");
}

std::string node_names(const json::object& answer, const json::array& ids) {
  std::string out;
  for (const json::value& id : ids) {
    out += fmt::format("{}{}", out.empty() ? "" : ",", node_name(answer, id.to_number<uint64_t>()));
  }
  return out.empty() ? "-" : out;
}

}  // namespace flux::main::ctl
