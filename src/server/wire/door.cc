#include "server/wire/door.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "api/read_codec.h"
#include "api/request_codec.h"
#include "base/counter.h"
#include "net/peer_acceptor.h"
#include "net/wire.h"

namespace flux::server::wire {
namespace {

// Of one connection; it is not read from while it has more.
constexpr size_t kCallsMax = 4096;
constexpr size_t kUnsentBytesMax = 16_MiB;

// One call that waits for its answer, which may come when the client has gone.
struct Call {
  std::weak_ptr<net::PeerConnection> connection;
  uint64_t id;
};

class DoorImpl final : public Door, public net::PeerReceiver {
 public:
  DoorImpl(const api::ClusterMap& map, DoorOptions options) : map_(map), options_(std::move(options)) {}

  Status open(env::Network& network, const std::vector<LoopServices>& services) {
    std::vector<env::Loop*> loops;
    for (const LoopServices& each : services) {
      loops.push_back(each.loop);
      per_loop_[each.loop].kv = each.kv;
    }
    FLUX_TRY(acceptor_, net::PeerAcceptor::listen(network, loops, options_.listen,
                                                  {.frame_bytes_max = net::kWireRequestFrameBytesMax,
                                                   .connections_max = options_.connections_max,
                                                   .calls_max = kCallsMax,
                                                   .unsent_bytes_max = kUnsentBytesMax},
                                                  *this));
    return {};
  }

  env::Address local() const override { return acceptor_->local(); }
  void stop_accepting() override { acceptor_->stop_accepting(); }
  DoorStats stats() const override {
    DoorStats sum{.connections = acceptor_->connections()};
    for (const auto& [loop, counted] : per_loop_) {
      sum.requests += counted.requests.value();
      sum.errors += counted.errors.value();
    }
    return sum;
  }

 private:
  struct PerLoop {
    api::KvService* kv = nullptr;
    Counter requests;
    Counter errors;
    api::DecodedRequest request;         // its memory is used again
    std::vector<std::string_view> keys;  // and this
  };

  Result<net::Hello> greet(const net::Hello& theirs) override {
    if (theirs.protocol != net::kProtocolVersion) {
      return Status(ErrorCode::kUnsupported,
                    fmt::format("protocol {} is not spoken here, only {}; upgrade the older side", theirs.protocol,
                                net::kProtocolVersion));
    }
    if (theirs.node != kNobody) {
      return Status(ErrorCode::kPrecondition, "this port is for clients; nodes talk to each other on --listen-peer");
    }
    if (theirs.cluster != net::ClusterId() && theirs.cluster != options_.self.cluster) {
      return Status(ErrorCode::kPrecondition, fmt::format("the client wants cluster {:016x}, this is cluster {:016x}",
                                                          theirs.cluster.value(), options_.self.cluster.value()));
    }
    return options_.self;
  }

  Status still_welcome(const net::Hello&) override { return {}; }

  Status on_peer_message(const std::shared_ptr<net::PeerConnection>& connection,
                         const net::FrameMessage& message) override {
    if (message.request_id == 0) return Status(ErrorCode::kCorruption, "a request without an id");
    PerLoop& here = per_loop_.at(&connection->loop());
    ++here.requests;
    Call call{.connection = connection, .id = message.request_id};
    switch (static_cast<net::WireMessage>(message.type)) {
      case net::WireMessage::kWrite:
        write(here, std::move(call), message.body);
        return {};
      case net::WireMessage::kRead:
        read(here, std::move(call), message.body);
        return {};
      case net::WireMessage::kMap:
        answer(call, kNobody, map_.encoded_config());
        return {};
    }
    return Status(ErrorCode::kUnsupported,
                  fmt::format("message type {} is not known to this version; upgrade this node", message.type));
  }

  void write(PerLoop& here, Call call, std::string_view body) {
    Status status = api::decode_one_request(body, here.request);
    const auto& commands = here.request.commands;
    if (status.ok() && !std::all_of(commands.begin(), commands.end(), api::is_for_clients)) {
      status = Status(ErrorCode::kInvalidArgument, "the request has a command that is not for clients");
    }
    if (!status.ok()) return answer_write(here, call, {.status = as_argument(std::move(status))});
    here.kv->write(here.request.view(), [this, &here, call = std::move(call)](const api::WriteReply& reply) {
      answer_write(here, call, reply);
    });
  }

  void answer_write(PerLoop& here, const Call& call, const api::WriteReply& reply) {
    if (!reply.status.ok()) ++here.errors;
    std::string body;
    api::encode_results(body, reply);
    answer(call, leader_of(reply.position), body);
  }

  void read(PerLoop& here, Call call, std::string_view body) {
    const Result<api::OwnedRead> asked = api::OwnedRead::decode(body);
    if (!asked.ok()) return answer_read(here, call, {.status = as_argument(asked.status())});
    here.kv->read(asked->view(here.keys), [this, &here, call = std::move(call)](const api::ReadReply& reply) {
      answer_read(here, call, reply);
    });
  }

  void answer_read(PerLoop& here, const Call& call, const api::ReadReply& reply) {
    if (!reply.status.ok()) ++here.errors;
    std::string body;
    if (Status status = api::OwnedReadReply::encode(reply, body); !status.ok()) {
      body.clear();
      (void)api::OwnedReadReply::encode({.status = std::move(status)}, body);
    }
    answer(call, leader_of(reply.position), body);
  }

  // A request that cannot be read is the client's mistake, not damage.
  static Status as_argument(Status status) {
    if (status.code() != ErrorCode::kCorruption) return status;
    return Status(ErrorCode::kInvalidArgument, status.message());
  }

  NodeId leader_of(const api::Position& position) const {
    return position.index == Index() ? kNobody : map_.leader_of(position.group);
  }

  void answer(const Call& call, NodeId leader, std::string_view body) {
    const std::shared_ptr<net::PeerConnection> connection = call.connection.lock();
    if (connection == nullptr) return;
    std::string bytes;
    bytes.reserve(body.size() + 16);
    net::begin_wire_answer(bytes, map_.config_num(), leader);
    bytes.append(body);
    connection->reply(call.id, bytes);
  }

  const api::ClusterMap& map_;
  const DoorOptions options_;
  std::map<env::Loop*, PerLoop> per_loop_;  // fixed after open()
  std::unique_ptr<net::PeerAcceptor> acceptor_;
};

}  // namespace

Result<std::unique_ptr<Door>> Door::open(env::Network& network, const std::vector<LoopServices>& services,
                                         const api::ClusterMap& map, DoorOptions options) {
  auto door = std::make_unique<DoorImpl>(map, std::move(options));
  FLUX_RETURN_IF_ERROR(door->open(network, services));
  return std::unique_ptr<Door>(std::move(door));
}

}  // namespace flux::server::wire
