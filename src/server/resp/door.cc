#include "server/resp/door.h"

#include <atomic>
#include <map>
#include <mutex>

namespace flux::server::resp {
namespace {

class DoorImpl final : public Door, public DoorView {
 public:
  explicit DoorImpl(DoorOptions options) : options_(std::move(options)), connections_max_(options_.connections_max) {}

  Status open(env::Network& network, const std::vector<LoopServices>& services) {
    std::vector<env::Loop*> loops;
    for (const LoopServices& each : services) {
      loops.push_back(each.loop);
      PerLoop& per_loop = *per_loop_.emplace(each.loop, std::make_unique<PerLoop>()).first->second;
      per_loop.context = std::make_unique<SessionContext>(SessionContext{
          .loop = *each.loop,
          .kv = *each.kv,
          .admin = *each.admin,
          .settings = options_.settings,
          .cursors = cursors_,
          .stats = per_loop.stats,
          .door = *this,
          .owners = options_.owners,
      });
    }
    FLUX_TRY(listener_,
             network.listen(loops, options_.listen, {}, [this](env::Loop& loop, std::unique_ptr<env::Stream> s) {
               accept(*per_loop_.at(&loop), std::move(s));
             }));
    local_ = listener_->local();
    return {};
  }

  env::Address local() const override { return local_; }
  void stop_accepting() override { listener_.reset(); }
  size_t connections_max() const override { return connections_max_; }
  void set_connections_max(size_t count) override { connections_max_ = count; }

  DoorStats stats() const override {
    DoorStats sum{.connections = connections_};
    for (const auto& [loop, per_loop] : per_loop_) {
      sum.connections_accepted += per_loop->stats.connections_accepted.value();
      sum.connections_refused += per_loop->stats.connections_refused.value();
      sum.commands += per_loop->stats.commands.value();
      sum.errors += per_loop->stats.errors.value();
      sum.protocol_errors += per_loop->stats.protocol_errors.value();
    }
    return sum;
  }

  void clients(env::Loop& loop, ClientsDone done) override { gather(per_loop_.begin(), {}, loop, std::move(done)); }

 private:
  struct PerLoop {
    LoopStats stats;
    std::unique_ptr<SessionContext> context;
    std::map<uint64_t, SessionPtr> sessions;
  };

  // Visits the loops from `next` on, each on its own thread, and ends on `home`.
  using PerLoops = std::map<env::Loop*, std::unique_ptr<PerLoop>>;
  void gather(PerLoops::const_iterator next, std::vector<ClientInfo> clients, env::Loop& home, ClientsDone done) {
    const bool visited = next == per_loop_.end();
    auto visit = [this, next, visited, clients = std::move(clients), &home, done = std::move(done)]() mutable {
      if (visited) return done(clients);
      for (const auto& [id, session] : next->second->sessions) clients.push_back(session->describe());
      gather(std::next(next), std::move(clients), home, std::move(done));
    };
    if (per_loop_.size() == 1) return visit();
    (visited ? home : *next->first).post(std::move(visit));
  }

  void accept(PerLoop& per_loop, std::unique_ptr<env::Stream> stream) {
    if (connections_ >= connections_max_) {
      ++per_loop.stats.connections_refused;
      refuse(per_loop, std::move(stream));
      return;
    }
    ++connections_;
    ++per_loop.stats.connections_accepted;
    const uint64_t id = next_id_++;
    per_loop.sessions.emplace(id, new Session(*per_loop.context, std::move(stream), id, [this, &per_loop, id] {
                                per_loop.sessions.erase(id);
                                --connections_;
                              }));
  }

  // Says why and closes; the stream lives until that has left.
  class Refusal final : public env::StreamHandler {
   public:
    explicit Refusal(std::unique_ptr<env::Stream> stream) : stream_(std::move(stream)) {
      stream_->set_handler(this);
      stream_->send("-ERR max number of clients reached\r\n");
      stream_->close_after_flush();
    }
    size_t on_data(env::Stream&, std::string_view data) override { return data.size(); }
    void on_closed(env::Stream&, const Status&) override { delete this; }

   private:
    std::unique_ptr<env::Stream> stream_;
  };
  void refuse(PerLoop&, std::unique_ptr<env::Stream> stream) { new Refusal(std::move(stream)); }

  const DoorOptions options_;
  env::Address local_;
  ScanCursors cursors_;
  PerLoops per_loop_;  // fixed after open()
  std::atomic<size_t> connections_max_;
  std::atomic<size_t> connections_ = 0;
  std::atomic<uint64_t> next_id_ = 1;
  std::unique_ptr<env::Listener> listener_;
};

}  // namespace

Result<std::unique_ptr<Door>> Door::open(env::Network& network, const std::vector<LoopServices>& services,
                                         DoorOptions options) {
  auto door = std::make_unique<DoorImpl>(std::move(options));
  FLUX_RETURN_IF_ERROR(door->open(network, services));
  return std::unique_ptr<Door>(std::move(door));
}

}  // namespace flux::server::resp
