// The KvService of one loop: finds the group, and crosses to its worker's loop and back where they differ.
#include "api/limits.h"
#include "kv/command_codec.h"
#include "node/node_impl.h"

namespace flux::node {
namespace {

// A reply that owns what its views point to, for the way to another loop.
struct OwnedReadReply {
  explicit OwnedReadReply(const api::ReadReply& source) : reply(source), resume(source.scan_resume) {
    size_t bytes = 0;
    for (const api::Item& item : source.items) bytes += item.key.size() + item.value.size();
    storage.reserve(bytes);  // so that views stay valid while it grows
    items.assign(source.items.begin(), source.items.end());
    for (api::Item& item : items) {
      item.key = keep(item.key);
      item.value = keep(item.value);
    }
    reply.items = items;
    reply.scan_resume = resume;
  }
  std::string_view keep(std::string_view bytes) {
    const size_t at = storage.size();
    storage.append(bytes);
    return std::string_view(storage).substr(at, bytes.size());
  }
  api::ReadReply reply;
  std::string storage;
  std::vector<api::Item> items;
  std::string resume;
};

class LoopKvService final : public api::KvService {
 public:
  LoopKvService(NodeImpl& node, size_t worker) : node_(node), loop_(node.worker(worker).loop()) {}

  void write(const api::WriteRequest& request, api::WriteDone done) override {
    Worker& worker = node_.owner(kDataGroup);
    if (&worker.loop() == &loop_) return worker.find(kDataGroup)->write(request, std::move(done));
    std::string encoded;
    if (Status status = kv::append_request(encoded, request); !status.ok()) return done({.status = std::move(status)});
    const bool erases_only = kv::erases_only(request.commands);
    worker.loop().post([this, &worker, erases_only, encoded = std::move(encoded), done = std::move(done)]() mutable {
      auto back = [this, done = std::move(done)](api::WriteReply reply) mutable {
        loop_.post([done = std::move(done), reply = std::move(reply)]() mutable { done(std::move(reply)); });
      };
      worker.find(kDataGroup)->write_encoded(std::move(encoded), erases_only, Group::Origin::kHere, std::move(back));
    });
  }

  void read(const api::ReadRequest& request, api::ReadDone done) override {
    Worker& worker = node_.owner(kDataGroup);
    if (&worker.loop() == &loop_) return worker.find(kDataGroup)->read(request, std::move(done));
    auto kept = std::make_unique<WaitingRead>(request, request.consistency, std::move(done), MonoTime());
    worker.loop().post([this, &worker, kept = std::move(kept)]() mutable {
      std::vector<std::string_view> keys;
      const api::ReadRequest there = kept->view(keys);
      auto back = [this, read_done = std::move(kept->done)](const api::ReadReply& reply) mutable {
        auto owned = std::make_unique<OwnedReadReply>(reply);
        loop_.post([read_done = std::move(read_done), owned = std::move(owned)]() mutable { read_done(owned->reply); });
      };
      worker.find(kDataGroup)->read(there, std::move(back));
    });
  }

 private:
  NodeImpl& node_;
  env::Loop& loop_;
};

}  // namespace

std::unique_ptr<api::KvService> make_kv_service(NodeImpl& node, size_t worker) {
  return std::make_unique<LoopKvService>(node, worker);
}

}  // namespace flux::node
