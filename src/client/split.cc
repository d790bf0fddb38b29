#include "client/split.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>

#include "base/overloaded.h"

namespace flux::client {
namespace {

// The keys of a command; none: it concerns every group.
struct Keys {
  std::string_view first;
  std::optional<std::string_view> second;
};

std::optional<Keys> keys_of(const api::Command& command) {
  return std::visit(
      Overloaded{
          [](const api::Copy& c) { return std::optional(Keys{.first = c.source, .second = c.destination}); },
          [](const auto& c) -> std::optional<Keys> {
            if constexpr (requires { c.key; }) return Keys{.first = c.key, .second = {}};
            return std::nullopt;
          },
      },
      command);
}

std::optional<api::DeleteRange> range_of(const api::Command& command) {
  if (std::holds_alternative<api::DeleteAll>(command)) return api::DeleteRange{};  // of all keyspaces
  if (const auto* range = std::get_if<api::DeleteRange>(&command)) return *range;
  return std::nullopt;
}

struct Piece {
  GroupId group;
  api::DeleteRange range;
};

// The range, cut where its owner changes. The ends are views of the map's.
std::vector<Piece> pieces(const RoutingMap& map, const api::DeleteRange& range) {
  std::vector<Piece> all;
  for (const RoutingMap::Run& run : map.runs_in(range.start, range.end)) {
    const bool last = !range.end.empty() && range.end < run.end;
    all.push_back({.group = run.group,
                   .range = {.start = std::max(range.start, std::string_view(run.start)),
                             .end = last ? range.end : std::string_view(run.end)}});
  }
  return all;
}

Status unowned() {
  return {ErrorCode::kUnavailable, "no group is known to own the keys yet; the cluster is being set up"};
}
Status crosses(api::KeyspaceRef keyspace) {
  if (keyspace.kind == api::KeyspaceKind::kRange) {
    return {
        ErrorCode::kCrossShard,
        "Keys in request belong to different groups, or may at any time; a command that takes effect as a whole needs "
        "its keys in one group: use a hash keyspace and a {hashtag}"};
  }
  return {
      ErrorCode::kCrossShard,
      "Keys in request don't hash to the same slot, and belong to different groups; a command that takes effect as a "
      "whole needs its keys in one group: use a {hashtag}"};
}

}  // namespace

GroupId single_group(const RoutingMap& map, const api::WriteRequest& request) {
  if (map.empty()) return ctrl::kNoGroup;
  const bool only_one = map.groups().size() == 1;
  GroupId group = ctrl::kNoGroup;
  for (const api::Command& command : request.commands) {
    if (const std::optional<api::DeleteRange> range = range_of(command)) {
      // A range that no group has as a whole is always cut.
      const std::vector<Piece> cut = pieces(map, *range);
      if (cut.size() != 1 || cut.front().range.start != range->start || cut.front().range.end != range->end) {
        return ctrl::kNoGroup;
      }
      if (group != ctrl::kNoGroup && group != cut.front().group) return ctrl::kNoGroup;
      group = cut.front().group;
      continue;
    }
    if (only_one) {
      group = map.groups().front();
      continue;
    }
    const std::optional<Keys> keys = keys_of(command);
    if (!keys) return ctrl::kNoGroup;
    const GroupId owner = map.group_of(request.keyspace, keys->first);
    if (group == ctrl::kNoGroup) group = owner;
    if (owner != group || (keys->second && map.group_of(request.keyspace, *keys->second) != group)) {
      return ctrl::kNoGroup;
    }
  }
  return group;
}

Status check_session(const api::WriteRequest& request) {
  if (request.session.client == 0 || request.commands.empty()) return {};
  // What no cut ever separates: a slot, or where keys are in order, a key.
  const bool in_order = request.keyspace.kind == api::KeyspaceKind::kRange;
  const auto together = [&](std::string_view a, std::string_view b) {
    return in_order ? a == b : api::slot_of(a) == api::slot_of(b);
  };
  std::optional<std::string_view> first;
  for (const api::Command& command : request.commands) {
    const std::optional<Keys> keys = keys_of(command);
    if (!keys) continue;
    if (!first) first = keys->first;
    if (!together(*first, keys->first) || (keys->second && !together(*first, *keys->second))) {
      return crosses(request.keyspace);
    }
  }
  return {};
}

Result<std::vector<WritePart>> split_write(const RoutingMap& map, const api::WriteRequest& request) {
  if (map.empty()) return unowned();
  std::map<GroupId, WritePart> parts;
  const auto put = [&](GroupId group, size_t place) {
    WritePart& part = parts[group];
    part.group = group;
    part.commands.push_back(request.commands[place]);
    part.places.push_back(place);
  };
  for (size_t place = 0; place < request.commands.size(); ++place) {
    const api::Command& command = request.commands[place];
    if (const std::optional<api::DeleteRange> range = range_of(command)) {
      for (const Piece& piece : pieces(map, *range)) {
        put(piece.group, place);
        parts[piece.group].commands.back() = piece.range;
      }
      continue;
    }
    const std::optional<Keys> keys = keys_of(command);
    if (!keys) {
      for (const GroupId group : map.groups()) put(group, place);
      continue;
    }
    const GroupId group = map.group_of(request.keyspace, keys->first);
    if (keys->second && map.group_of(request.keyspace, *keys->second) != group) return crosses(request.keyspace);
    put(group, place);
  }
  if (parts.empty() || parts.contains(ctrl::kNoGroup)) return unowned();
  if (parts.size() > 1 && request.all_or_nothing) return crosses(request.keyspace);
  std::vector<WritePart> all;
  for (auto& [group, part] : parts) all.push_back(std::move(part));
  return all;
}

bool WritePart::bound() const {
  return std::any_of(commands.begin(), commands.end(),
                     [](const api::Command& command) { return !keys_of(command) && !range_of(command); });
}

WriteMerge::WriteMerge(size_t commands, size_t parts) : left_(parts) { merged_.results.resize(commands); }

void WriteMerge::add(const WritePart& part, api::WriteReply reply) {
  FLUX_CHECK(left_ > 0);
  --left_;
  if (!reply.status.ok()) {
    if (is_indeterminate(reply.status.code())) some_happened_ = true;
    if (failure_.ok() || is_indeterminate(reply.status.code())) failure_ = reply.status;
    return;
  }
  some_happened_ = true;
  merged_.position = std::max(merged_.position, reply.position,
                              [](const api::Position& a, const api::Position& b) { return a.version < b.version; });
  for (size_t i = 0; i < part.places.size() && i < reply.results.size(); ++i) {
    api::CommandResult& result = merged_.results[part.places[i]];
    // What concerns every group adds up.
    const int64_t before = result.integer;
    const bool applied = result.applied;
    result = std::move(reply.results[i]);
    result.integer += before;
    result.applied = result.applied || applied;
  }
}

api::WriteReply WriteMerge::take() {
  FLUX_CHECK(complete());
  if (failure_.ok()) return std::move(merged_);
  if (!some_happened_) return {.status = failure_};
  return {.status = Status(
              ErrorCode::kOutcomeUnknown,
              fmt::format("a part of the request took effect or may have, another did not: {}", failure_.message()))};
}

GroupId single_group(const RoutingMap& map, api::KeyspaceRef keyspace, const api::GetRequest& request) {
  if (map.empty()) return ctrl::kNoGroup;
  if (map.groups().size() == 1) return map.groups().front();
  GroupId group = ctrl::kNoGroup;
  for (const std::string_view key : request.keys) {
    const GroupId owner = map.group_of(keyspace, key);
    if (group == ctrl::kNoGroup) group = owner;
    if (owner != group) return ctrl::kNoGroup;
  }
  return group;
}

Result<std::vector<ReadPart>> split_get(const RoutingMap& map, api::KeyspaceRef keyspace,
                                        const api::GetRequest& request) {
  if (map.empty()) return unowned();
  std::map<GroupId, ReadPart> parts;
  for (size_t place = 0; place < request.keys.size(); ++place) {
    const GroupId group = map.group_of(keyspace, request.keys[place]);
    if (group == ctrl::kNoGroup) return unowned();
    ReadPart& part = parts[group];
    part.group = group;
    part.keys.push_back(request.keys[place]);
    part.places.push_back(place);
  }
  std::vector<ReadPart> all;
  for (auto& [group, part] : parts) all.push_back(std::move(part));
  return all;
}

}  // namespace flux::client
