// One client: a connection to some node at a time, batches of requests, and a limit to its patience.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "workload.h"

namespace flux::sim {

class Client final : public env::StreamHandler {
 public:
  Client(Workload& workload, uint64_t number, Rng rng);
  ~Client() override;

  // Goes on until the workload stops.
  void start() { rest(); }
  bool idle() const { return !busy_; }
  // Sends these to a node, once.
  void audit(size_t node, std::vector<Workload::Request> requests, std::function<void(bool)> done);

  size_t on_data(env::Stream& stream, std::string_view data) override;
  void on_closed(env::Stream& stream, const Status& reason) override;

 private:
  using Request = Workload::Request;
  void rest();
  void next_batch();
  void connect(size_t node);
  void connect_later();
  // How long an answer may take.
  Micros patience();
  void send();
  // Takes one answer off `data`; 0 if it is not complete.
  size_t take_answer(std::string_view data);
  void give_up();
  void batch_done();
  void drop_connection();

  Workload& workload_;
  const uint64_t number_;
  Rng rng_;
  const Clock clock_;
  std::unique_ptr<SimLoop> loop_;
  std::unique_ptr<env::Stream> stream_;
  uint64_t connection_ = 0;  // counts them: what belongs to an earlier one is late
  uint64_t batch_ = 0;
  bool busy_ = false;      // with a batch
  bool selected_ = false;  // the connection works in the client's keyspace
  std::vector<Request> to_send_;
  std::deque<Request> sent_;
  std::vector<Request> again_;
  std::function<void(bool)> audited_;
  bool all_answered_ = true;
};

}  // namespace flux::sim
