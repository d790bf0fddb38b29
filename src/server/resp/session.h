// One RESP connection.
//
// Replies leave in the order of requests. Effects take place in that order too: reads overlap with reads and writes
// with writes, but a read waits for the writes before it on the connection, and a write for the reads.
//
// Owned by one loop; kept alive by its answers under way.
#pragma once

#include <absl/functional/any_invocable.h>

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "api/admin_service.h"
#include "base/counter.h"
#include "env/net.h"
#include "server/resp/command.h"
#include "server/resp/parser.h"
#include "server/resp/scan_cursors.h"

namespace flux::server::resp {

struct ClientInfo {
  uint64_t id = 0;
  std::string name;
  std::string lib_name;
  std::string lib_ver;
  std::string address;
  std::string local_address;
  MonoTime connected;
  MonoTime last_request;
  std::string last_command;
  std::string keyspace{api::kDefaultKeyspaceName};
  int protocol = 2;
  size_t pending = 0;
  size_t unsent_bytes = 0;
};

// A setting that CONFIG GET shows and CONFIG SET may change. Any thread.
struct Setting {
  std::string name;
  std::function<std::string()> get;
  // Checks a value and returns what makes it so. Null: fixed while the server runs.
  std::function<Result<std::function<void()>>(std::string_view)> prepare;
};

struct DoorStats {
  uint64_t connections = 0;  // now
  uint64_t connections_accepted = 0;
  uint64_t connections_refused = 0;
  uint64_t commands = 0;
  uint64_t errors = 0;
  uint64_t protocol_errors = 0;
};

// What a loop's sessions count.
struct LoopStats {
  Counter connections_accepted;
  Counter connections_refused;
  Counter commands;
  Counter errors;
  Counter protocol_errors;
};

// The door as its sessions see it: all loops together.
class DoorView {
 public:
  virtual ~DoorView() = default;
  // Any thread; a little behind.
  virtual DoorStats stats() const = 0;
  // `done` is called on `loop`.
  using ClientsDone = absl::AnyInvocable<void(const std::vector<ClientInfo>&)>;
  virtual void clients(env::Loop& loop, ClientsDone done) = 0;
};

// What the sessions of one loop share.
struct SessionContext {
  env::Loop& loop;
  api::KvService& kv;
  api::AdminService& admin;
  const std::vector<Setting>& settings;
  ScanCursors& cursors;
  LoopStats& stats;
  DoorView& door;
  const api::SlotOwners* owners = nullptr;  // DoorOptions has what it means
};

class Session final : public env::StreamHandler,
                      public boost::intrusive_ref_counter<Session, boost::thread_unsafe_counter> {
 public:
  Session(SessionContext& context, std::unique_ptr<env::Stream> stream, uint64_t id, std::function<void()> on_closed);
  ~Session() override;

  // --- For handlers ------------------------------------------------------------------------------------------------
  SessionContext& context() { return context_; }
  ClientInfo& info() { return info_; }
  int protocol() const { return protocol_; }
  void set_protocol(int version) { protocol_ = version; }
  // What its commands are about.
  api::KeyspaceRef keyspace() const { return keyspace_; }
  void set_keyspace(std::string_view name, api::KeyspaceRef keyspace) {
    info_.keyspace = name;
    keyspace_ = keyspace;
  }
  // Where reads may be served, in a cluster.
  void set_reads(Served served) { reads_served_ = served; }
  const Command& command() const { return *command_; }
  // Answers the request at hand now.
  template <typename Write>
  void reply(Write&& write) {
    const uint64_t slot = open_slot();
    complete(slot, std::forward<Write>(write));
  }
  void reply_error(std::string_view text);
  // Answers it when the service does; in this connection's keyspace.
  void write(std::span<const api::Command> commands, WriteFormatter format, int64_t extra = 0,
             bool all_or_nothing = false);
  void read(api::ReadRequest request, ReadFormatter format, int64_t extra = 0);
  // Answers it later, by complete(). The caller keeps the session alive.
  uint64_t open_slot();
  template <typename Write>
  void complete(uint64_t slot, Write&& write) {
    if (closed_) return finish(slot);
    const bool first = slot == first_slot_;
    std::string& out = first ? stream_->outbox() : slots_[slot - first_slot_].bytes;
    const size_t before = out.size();
    Reply reply(out, slots_[slot - first_slot_].protocol);
    write(reply);
    if (out.size() > before && out[before] == '-') ++context_.stats.errors;
    finish(slot);
  }
  void close_after_reply() { closing_ = true; }

  size_t on_data(env::Stream& stream, std::string_view data) override;
  void on_closed(env::Stream& stream, const Status& reason) override;
  void on_drained(env::Stream& stream) override;
  ClientInfo describe() const;

 private:
  struct Slot {
    std::string bytes;  // what waits for the replies before it
    bool done = false;
    Effect effect = Effect::kNone;
    int protocol = 2;  // when it was asked: a HELLO behind it in the pipeline does not reach back
    WriteFormatter write_format = nullptr;
    ReadFormatter read_format = nullptr;
    int64_t extra = 0;
  };
  void dispatch(Arguments arguments);
  bool must_wait(Effect effect) const;
  void finish(uint64_t slot);
  // Takes no more input until go_on(); `next` is the effect of the request that has to wait.
  void hold_back(Effect next);
  void go_on();

  SessionContext& context_;
  std::unique_ptr<env::Stream> stream_;
  Parser parser_;
  ClientInfo info_;
  int protocol_ = 2;
  api::KeyspaceRef keyspace_;
  Served reads_served_ = Served::kByLeader;
  std::function<void()> on_closed_;

  const Command* command_ = nullptr;  // at hand
  std::deque<Slot> slots_;            // of requests not yet answered to the client
  uint64_t first_slot_ = 0;           // number of slots_.front()
  size_t reads_ = 0;                  // under way
  size_t writes_ = 0;
  bool held_back_ = false;              // input waits for answers or for the client to read
  Effect next_effect_ = Effect::kNone;  // held back: of the request that waits
  bool closing_ = false;
  bool closed_ = false;
};

using SessionPtr = boost::intrusive_ptr<Session>;

}  // namespace flux::server::resp
