// One client with an exactly-once session, at the narrow waist of the nodes: the RESP door has no sessions. It sends
// the same (client, sequence) to one node after the other until it knows what became of it, and old ones once more.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "exactly_once.h"
#include "workload.h"

namespace flux::sim {

class SessionClient {
 public:
  SessionClient(Workload& workload, uint64_t number, Rng rng);

  // Goes on until the workload stops.
  void start() { rest(); }
  bool idle() const { return !busy_; }

 private:
  // What is sent, as often as it takes.
  struct Request {
    api::SessionRef session;
    std::vector<Write> writes;  // none: opens the session
  };
  using Answered = std::function<void(const api::WriteReply&)>;

  void rest();
  void next();
  void open();
  void read();
  std::vector<Write> draw_writes();
  // Sends it once. Never calls if the node dies, or its answer does.
  void send(std::shared_ptr<const Request> request, Answered answered);
  // A turn of a node that runs when the words arrive. Where nothing runs, `refused` is called.
  void visit(size_t node, std::function<void(size_t)> turn, env::Task refused);
  void come_back(size_t node, env::Task task);
  void try_current();
  void on_answer(uint64_t operation, const api::WriteReply& reply);
  void finish(history::Outcome outcome, const api::WriteReply& reply);
  void send_late_duplicate();
  size_t draw_node() { return rng_.below(workload_.cluster_.hosts()); }
  Micros draw_micros(int64_t low, int64_t high);

  Workload& workload_;
  World& world_;
  const uint64_t number_;
  Rng rng_;
  bool busy_ = false;
  uint64_t operation_ = 0;  // counts them: an answer to an earlier one changes nothing
  api::SessionRef session_;
  std::vector<std::shared_ptr<const Request>> answered_;  // of the one that is open
  // The request at hand.
  std::shared_ptr<const Request> current_;
  Workload::Request in_history_;
  uint64_t tries_ = 0;    // sent
  uint64_t in_vain_ = 0;  // of them: surely not run
};

}  // namespace flux::sim
