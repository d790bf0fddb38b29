#include "client.h"

#include <absl/strings/escaping.h>
#include <fmt/core.h>

#include <charconv>
#include <utility>

namespace flux::sim {
namespace {

using history::Outcome;

constexpr uint64_t kFirstHost = 1000;
constexpr Micros kConnectTimeout = Millis(500);

struct Answer {
  char type = 0;  // as in RESP; '_': nothing
  std::string_view text;
  size_t bytes = 0;  // 0: not complete
};

Answer parse_answer(std::string_view data) {
  const size_t end = data.find("\r\n");
  if (end == std::string_view::npos) return {};
  Answer answer{.type = data[0], .text = data.substr(1, end - 1), .bytes = end + 2};
  if (answer.type != '$') return answer;
  int64_t size = 0;
  std::from_chars(answer.text.data(), answer.text.data() + answer.text.size(), size);
  if (size < 0) return {.type = '_', .bytes = answer.bytes};
  const size_t whole = answer.bytes + static_cast<size_t>(size) + 2;
  if (data.size() < whole) return {};
  return {.type = '$', .text = data.substr(answer.bytes, static_cast<size_t>(size)), .bytes = whole};
}

}  // namespace

Client::Client(Workload& workload, uint64_t number, Rng rng)
    : workload_(workload),
      number_(number),
      rng_(rng),
      loop_(std::make_unique<SimLoop>(workload.world_, kFirstHost + number, clock_)) {}

Client::~Client() {
  stream_.reset();
  loop_.reset();
}

void Client::rest() {
  const auto max = static_cast<uint64_t>(workload_.options_.pause_max.count());
  loop_->call_after(Micros(static_cast<int64_t>(rng_.between(1, max))), [this] { next_batch(); });
}

void Client::next_batch() {
  if (workload_.stopped()) return;
  busy_ = true;
  for (size_t i = rng_.between(1, workload_.options_.pipeline_max); i > 0; --i) {
    to_send_.push_back(workload_.draw_request(number_, rng_));
  }
  if (stream_ == nullptr || rng_.chance(0.02)) return connect(rng_.below(workload_.cluster_.hosts()));
  send();
}

void Client::audit(size_t node, std::vector<Request> requests, std::function<void(bool)> done) {
  to_send_ = std::move(requests);
  audited_ = std::move(done);
  busy_ = true;
  loop_->post([this, node] { connect(node); });
}

void Client::connect(size_t node) {
  drop_connection();
  ++workload_.counts_.connections;
  workload_.world_.network().connect(*loop_, Cluster::resp_address(node), {}, kConnectTimeout,
                                     [this, number = connection_](Result<std::unique_ptr<env::Stream>> stream) {
                                       if (number != connection_) return;
                                       if (!stream.ok()) return connect_later();
                                       stream_ = std::move(stream).value();
                                       stream_->set_handler(this);
                                       selected_ = !workload_.in_order(number_);
                                       if (selected_) return send();
                                       stream_->send(fmt::format("SELECT {}\r\n", kOrdered));
                                       loop_->call_after(patience(), [this, number] {
                                         if (number == connection_ && !selected_) give_up();
                                       });
                                     });
}

Micros Client::patience() {
  if (audited_) return Micros(10'000'000);
  const auto most = static_cast<uint64_t>(workload_.options_.give_up_max.count());
  return Micros(static_cast<int64_t>(rng_.between(100'000, most)));
}

void Client::connect_later() {
  if (audited_) return give_up();
  loop_->call_after(Millis(50), [this] {
    if (workload_.stopped() || stream_ != nullptr) return give_up();
    connect(rng_.below(workload_.cluster_.hosts()));
  });
}

void Client::send() {
  for (Request& request : to_send_) {
    workload_.sent(request);
    workload_.world_.say("sends {}", absl::CEscape(request.bytes.substr(0, 100)));
    stream_->send(request.bytes);
    sent_.push_back(std::move(request));
  }
  to_send_.clear();
  loop_->call_after(patience(), [this, batch = batch_] {
    if (batch == batch_) give_up();
  });
}

size_t Client::on_data(env::Stream&, std::string_view data) {
  workload_.world_.say("is told {}", absl::CEscape(std::string(data.substr(0, 100))));
  size_t consumed = 0;
  if (!selected_) {
    const Answer answer = parse_answer(data);
    if (answer.bytes == 0) return 0;
    if (answer.type == '-') {  // the node has not heard of it yet
      drop_connection();
      connect_later();
      return data.size();
    }
    selected_ = true;
    send();
    return answer.bytes;
  }
  while (!sent_.empty()) {
    const size_t taken = take_answer(data.substr(consumed));
    if (taken == 0) return consumed;
    consumed += taken;
    sent_.pop_front();
  }
  batch_done();
  return consumed;
}

size_t Client::take_answer(std::string_view data) {
  const Answer answer = parse_answer(data);
  if (answer.bytes == 0) return 0;
  const Request& request = sent_.front();
  if (answer.type == '-') {
    all_answered_ = false;
    const bool unknown = answer.text.starts_with("UNKNOWN");
    if (unknown && rng_.chance(workload_.options_.retry)) again_.push_back(request);
    workload_.finish(request, unknown ? Outcome::kUnknown : Outcome::kFailed, {});
    return answer.bytes;
  }
  std::vector<std::optional<std::string>> values;
  size_t bytes = answer.bytes;
  const auto value_of = [](const Answer& each) {
    return each.type == '_' ? std::nullopt : std::optional<std::string>(each.text);
  };
  if (request.form == Workload::Form::kValues) {
    for (size_t i = 0; i < request.operations.size(); ++i) {
      const Answer each = parse_answer(data.substr(bytes));
      if (each.bytes == 0) return 0;
      bytes += each.bytes;
      values.push_back(value_of(each));
    }
  } else if (request.form != Workload::Form::kOk) {
    values.push_back(value_of(answer));
  }
  workload_.finish(request, Outcome::kOk, values);
  return bytes;
}

void Client::on_closed(env::Stream&, const Status&) {
  if (busy_) return give_up();
  drop_connection();
}

// What was sent may have happened; what was not sent has not.
void Client::give_up() {
  drop_connection();
  all_answered_ = false;
  for (const Request& request : std::exchange(sent_, {})) {
    if (rng_.chance(workload_.options_.retry)) again_.push_back(request);
    workload_.finish(request, Outcome::kUnknown, {});
  }
  for (const Request& request : std::exchange(to_send_, {})) workload_.finish(request, Outcome::kFailed, {});
  batch_done();
}

void Client::batch_done() {
  ++batch_;
  busy_ = false;
  if (audited_) {
    loop_->post([done = std::exchange(audited_, nullptr), all = all_answered_] { done(all); });
    return;
  }
  if (workload_.stopped()) {
    again_.clear();
    return;
  }
  if (again_.empty()) return rest();
  // The same once more, through any node.
  for (Request& request : std::exchange(again_, {})) {
    ++workload_.counts_.retries;
    workload_.renew(request, number_);
    to_send_.push_back(std::move(request));
  }
  busy_ = true;
  loop_->post([this] { connect(rng_.below(workload_.cluster_.hosts())); });
}

void Client::drop_connection() {
  ++connection_;
  // Not from inside a call of the stream's own.
  if (stream_ == nullptr) return;
  stream_->set_handler(nullptr);
  loop_->post([stream = std::move(stream_)] {});
}

}  // namespace flux::sim
