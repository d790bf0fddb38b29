// An admin service that answers in a later turn of its loop, as the real one does, and notes what it was asked.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "api/admin_service.h"
#include "env/loop.h"

namespace flux::server::testing {

class FakeAdmin final : public api::AdminService {
 public:
  explicit FakeAdmin(env::Loop& loop) : loop_(loop) {}

  void status(api::StatusDone done) override {
    loop_.post([done = std::move(done)]() mutable { done({.name = "n1", .node_id = NodeId(1), .version = "9.9"}); });
  }
  std::optional<api::KeyspaceRef> keyspace(std::string_view name) const override {
    const auto found = keyspaces.find(name);
    return found != keyspaces.end() ? std::optional(found->second) : std::nullopt;
  }
  void readiness(api::ChecksDone done) override {
    loop_.post([this, done = std::move(done)]() mutable { done(checks); });
  }
  void cluster(ConfigNum num, api::ClusterDone done) override {
    loop_.post([this, num, done = std::move(done)]() mutable {
      if (!outcome.ok()) return done(outcome);
      if (num != ConfigNum() && num != view.config) return done(Status(ErrorCode::kNotFound, "no such configuration"));
      done(view);
    });
  }
  void change_cluster(api::ClusterChange change, api::ClusterReplyDone done) override {
    changes.push_back(std::move(change));
    loop_.post([this, done = std::move(done)]() mutable {
      api::ClusterReply answer = reply;
      answer.status = outcome;
      done(std::move(answer));
    });
  }
  void transfer_leader(GroupId group, NodeId target, api::AdminDone done) override {
    transfers.emplace_back(group, target);
    loop_.post([this, done = std::move(done)]() mutable { done(outcome); });
  }

  // What it answers.
  std::vector<api::Check> checks = {{.name = "leader"}};
  api::ClusterView view;    // the only configuration it has
  api::ClusterReply reply;  // under `outcome`
  Status outcome;
  std::map<std::string, api::KeyspaceRef, std::less<>> keyspaces = {{"default", {}}};
  // What it was asked.
  std::vector<api::ClusterChange> changes;
  std::vector<std::pair<GroupId, NodeId>> transfers;

 private:
  env::Loop& loop_;
};

}  // namespace flux::server::testing
