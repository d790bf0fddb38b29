#include "server/resp/session.h"

#include <fmt/core.h>

#include "api/limits.h"

namespace flux::server::resp {
namespace {

// Requests of one connection that may be under way.
constexpr size_t kPendingMax = 4096;
constexpr size_t kPendingResume = kPendingMax / 2;
// Replies that a client has not read yet; beyond this its requests wait.
constexpr size_t kUnsentBytesMax = 16_MiB;

constexpr ParserLimits kLimits{.arguments_max = api::kCommandsPerRequestMax * 2 + 8,
                               .bulk_bytes_max = api::kValueBytesMax + 64_KiB};

std::string unknown_command(Arguments arguments) {
  std::string words;
  for (size_t i = 1; i < arguments.size() && words.size() < kShownBytesMax; ++i) {
    words += fmt::format("'{}' ", shown(arguments[i], kShownBytesMax - words.size()));
  }
  return fmt::format("ERR unknown command '{}', with args beginning with: {}", shown(arguments.front()), words);
}

}  // namespace

Session::Session(SessionContext& context, std::unique_ptr<env::Stream> stream, uint64_t id,
                 std::function<void()> on_closed)
    : context_(context), stream_(std::move(stream)), parser_(kLimits), on_closed_(std::move(on_closed)) {
  info_.id = id;
  info_.address = stream_->peer_address();
  info_.local_address = stream_->local_address();
  info_.connected = info_.last_request = context_.loop.now();
  stream_->set_handler(this);
}

Session::~Session() = default;

size_t Session::on_data(env::Stream& stream, std::string_view data) {
  const SessionPtr self(this);
  size_t consumed = 0;
  info_.last_request = context_.loop.now();
  while (!closing_ && !closed_) {
    if (slots_.size() >= kPendingMax || stream.unsent_bytes() > kUnsentBytesMax) {
      hold_back(Effect::kNone);
      break;
    }
    size_t size = 0;
    const Parsed parsed = parser_.parse(data.substr(consumed), size);
    if (parsed == Parsed::kIncomplete) break;
    if (parsed == Parsed::kError) {
      ++context_.stats.protocol_errors;
      close_after_reply();
      reply_error("ERR " + parser_.error());
      break;
    }
    if (parser_.arguments().empty()) {
      consumed += size;
      continue;
    }
    command_ = find_command(parser_.arguments().front());
    if (command_ != nullptr && must_wait(command_->effect)) {
      hold_back(command_->effect);
      break;
    }
    consumed += size;
    dispatch(parser_.arguments());
  }
  return closing_ || closed_ ? data.size() : consumed;
}

bool Session::must_wait(Effect effect) const {
  if (effect == Effect::kRead) return writes_ != 0;
  if (effect == Effect::kWrite) return reads_ != 0;
  return false;
}

void Session::dispatch(Arguments arguments) {
  ++context_.stats.commands;
  if (command_ == nullptr) {
    return reply_error(unknown_command(arguments));
  }
  const auto count = static_cast<int>(arguments.size());
  if (command_->arity >= 0 ? count != command_->arity : count < -command_->arity) {
    return reply_error(fmt::format("ERR wrong number of arguments for '{}' command", command_->name));
  }
  info_.last_command = command_->name;
  // Clients that route by slots know of the default keyspace alone.
  if (context_.owners != nullptr && keyspace_.is_default()) {
    const Served served = command_->effect == Effect::kRead ? reads_served_ : Served::kByLeader;
    const std::string elsewhere = redirection(*context_.owners, *command_, arguments, served);
    if (!elsewhere.empty()) return reply_error(elsewhere);
  }
  command_->handler(*this, arguments);
}

void Session::reply_error(std::string_view text) {
  reply([&](Reply& reply) { reply.error(text); });
}

uint64_t Session::open_slot() {
  slots_.push_back({.protocol = protocol_});
  return first_slot_ + slots_.size() - 1;
}

void Session::write(std::span<const api::Command> commands, WriteFormatter format, int64_t extra, bool all_or_nothing) {
  const uint64_t number = open_slot();
  Slot& slot = slots_.back();
  slot.effect = Effect::kWrite;
  slot.write_format = format;
  slot.extra = extra;
  ++writes_;
  context_.kv.write({.commands = commands, .keyspace = keyspace_, .all_or_nothing = all_or_nothing},
                    [self = SessionPtr(this), number](const api::WriteReply& answer) {
                      const Slot& at = self->slots_[number - self->first_slot_];
                      const WriteFormatter formatter = at.write_format;
                      const int64_t given = at.extra;
                      self->complete(number, [&](Reply& reply) {
                        if (!answer.status.ok()) return reply.error(answer.status);
                        formatter(reply, answer, given);
                      });
                    });
}

void Session::read(api::ReadRequest request, ReadFormatter format, int64_t extra) {
  request.keyspace = keyspace_;
  const uint64_t number = open_slot();
  Slot& slot = slots_.back();
  slot.effect = Effect::kRead;
  slot.read_format = format;
  slot.extra = extra;
  ++reads_;
  context_.kv.read(request, [self = SessionPtr(this), number](const api::ReadReply& answer) {
    const Slot& at = self->slots_[number - self->first_slot_];
    const ReadFormatter formatter = at.read_format;
    const int64_t given = at.extra;
    self->complete(number, [&](Reply& reply) {
      if (!answer.status.ok()) return reply.error(answer.status);
      formatter(reply, answer, given);
    });
  });
}

void Session::finish(uint64_t number) {
  Slot& slot = slots_[number - first_slot_];
  slot.done = true;
  if (slot.effect == Effect::kRead) --reads_;
  if (slot.effect == Effect::kWrite) --writes_;
  while (!slots_.empty() && slots_.front().done) {
    if (!closed_) stream_->outbox().append(slots_.front().bytes);
    slots_.pop_front();
    ++first_slot_;
  }
  if (closed_) return;
  stream_->wrote();
  if (closing_ && slots_.empty()) return stream_->close_after_flush();
  if (held_back_ && slots_.size() <= kPendingResume) go_on();
}

void Session::hold_back(Effect next) {
  held_back_ = true;
  next_effect_ = next;
  stream_->pause_reading();
}

void Session::go_on() {
  if (stream_->unsent_bytes() > kUnsentBytesMax || must_wait(next_effect_)) return;
  held_back_ = false;
  stream_->resume_reading();
}

void Session::on_drained(env::Stream&) {
  if (held_back_) go_on();
}

void Session::on_closed(env::Stream&, const Status&) {
  const SessionPtr self(this);
  closed_ = true;
  stream_.reset();
  on_closed_();
}

ClientInfo Session::describe() const {
  ClientInfo info = info_;
  info.protocol = protocol_;
  info.pending = slots_.size();
  info.unsent_bytes = stream_ ? stream_->unsent_bytes() : 0;
  return info;
}

}  // namespace flux::server::resp
