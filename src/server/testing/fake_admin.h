// An admin service that answers in a later turn of its loop, as the real one does, and notes what it was asked.
#pragma once

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
  void readiness(api::ChecksDone done) override {
    loop_.post([this, done = std::move(done)]() mutable { done(checks); });
  }
  void change_member(api::MemberChange change, api::AdminDone done) override {
    changes.push_back(std::move(change));
    loop_.post([this, done = std::move(done)]() mutable { done(outcome); });
  }
  void transfer_leader(GroupId group, NodeId target, api::AdminDone done) override {
    transfers.emplace_back(group, target);
    loop_.post([this, done = std::move(done)]() mutable { done(outcome); });
  }

  // What it answers.
  std::vector<api::Check> checks = {{.name = "leader"}};
  Status outcome;
  // What it was asked.
  std::vector<api::MemberChange> changes;
  std::vector<std::pair<GroupId, NodeId>> transfers;

 private:
  env::Loop& loop_;
};

}  // namespace flux::server::testing
