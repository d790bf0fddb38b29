#include "node/snapshots.h"

#include <fmt/core.h>

#include <charconv>

#include "base/log.h"
#include "base/probe.h"
#include "engine/snapshot_file.h"
#include "kv/record_format.h"

namespace flux::node {
namespace {

constexpr std::string_view kSuffix = ".snap";
// Complete snapshots kept per group: the newest, and one to fall back on if that one rots.
constexpr size_t kKept = 2;

std::string name_of(EntryId last) {
  return fmt::format("{:016x}-{:016x}{}", last.index.value(), last.term.value(), kSuffix);
}

// The entry a file name stands for; nothing if it is not a snapshot's.
std::optional<EntryId> parse_name(std::string_view name, std::string_view suffix) {
  if (name.size() != 33 + suffix.size() || !name.ends_with(suffix) || name[16] != '-') return std::nullopt;
  const auto number = [&](size_t at) -> std::optional<uint64_t> {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(name.data() + at, name.data() + at + 16, value, 16);
    if (error != std::errc() || end != name.data() + at + 16) return std::nullopt;
    return value;
  };
  const auto index = number(0);
  const auto term = number(17);
  if (!index || !term) return std::nullopt;
  return EntryId{.index = Index(*index), .term = Term(*term)};
}

Result<raft::SnapshotMeta> decode_meta(const std::string& bytes) {
  Decoder decoder(bytes);
  raft::SnapshotMeta meta = raft::decode_snapshot_meta(decoder);
  FLUX_RETURN_IF_ERROR(decoder.finish("a snapshot's meta data"));
  FLUX_RETURN_IF_ERROR(meta.membership.validate());
  return meta;
}

}  // namespace

std::string SnapshotStore::group_dir(GroupId group) const { return fmt::format("{}/group-{}", dir_, group); }

std::string SnapshotStore::path_of(GroupId group, EntryId last) const { return group_dir(group) + "/" + name_of(last); }

Status SnapshotStore::restore(GroupId group, engine::Engine& engine) {
  const std::string dir = group_dir(group);
  FLUX_RETURN_IF_ERROR(fs_.create_dirs(dir));
  FLUX_RETURN_IF_ERROR(fs_.sync_dir(dir_));
  FLUX_TRY(std::vector<std::string> names, fs_.list(dir));
  for (const std::string& name : names) {
    if (name.ends_with(kSuffix)) continue;
    FLUX_PROBE("a crash left a snapshot half done");
    FLUX_RETURN_IF_ERROR(fs_.remove(dir + "/" + name));  // half-done when the process ended
  }
  // The process before us may have ended because this failed: what is seen under a name need not be durable yet, and
  // the log is shortened in the belief that it is.
  FLUX_RETURN_IF_ERROR(fs_.sync_dir(dir));
  Index applied;
  engine::PinnedValue value;
  FLUX_TRY(const bool exists, engine.get(engine::Family::kMeta, kv::kAppliedKey, value));
  if (exists) {
    FLUX_TRY(const kv::Applied stored, kv::decode_applied(value.view()));
    applied = stored.id.index;
  }
  for (auto name = names.rbegin(); name != names.rend(); ++name) {  // newest first: names sort by index
    const std::optional<EntryId> last = parse_name(*name, kSuffix);
    if (!last) continue;
    if (last->index <= applied) break;
    Status status = load(dir + "/" + *name, engine);
    if (status.ok()) break;
    if (status.code() != ErrorCode::kCorruption) return status;
    FLUX_PROBE("a snapshot cannot be read, and an older one is tried");
    log::error("{} -> trying an older snapshot", status.to_string());
  }
  return {};
}

Result<SavedSnapshot> SnapshotStore::save(GroupId group, const engine::Snapshot& snapshot,
                                          const raft::SnapshotMeta& meta) {
  std::string encoded;
  Encoder encoder(encoded);
  raft::encode(encoder, meta);
  FLUX_RETURN_IF_ERROR(engine::save_snapshot(snapshot, fs_, group_dir(group), name_of(meta.last), encoded).status());
  forget_older(group, meta.last);
  FLUX_TRY(const std::unique_ptr<env::File> file, fs_.open(path_of(group, meta.last), env::OpenMode::kRead));
  FLUX_TRY(const uint64_t bytes, file->size());
  log::info("group {}: saved snapshot {} of {} bytes", group, meta.last, bytes);
  return SavedSnapshot{.meta = meta, .path = path_of(group, meta.last), .bytes = bytes};
}

Status SnapshotStore::remove(GroupId group) {
  {
    const std::lock_guard lock(mutex_);
    incoming_.erase(group);
  }
  const std::string dir = group_dir(group);
  FLUX_TRY(const bool exists, fs_.exists(dir));
  if (!exists) return {};
  FLUX_TRY(const std::vector<std::string> names, fs_.list(dir));
  for (const std::string& name : names) FLUX_RETURN_IF_ERROR(fs_.remove(dir + "/" + name));
  return fs_.sync_dir(dir);
}

Result<std::optional<SavedSnapshot>> SnapshotStore::newest(GroupId group) {
  const std::string dir = group_dir(group);
  FLUX_TRY(const std::vector<std::string> names, fs_.list(dir));
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (!parse_name(*name, kSuffix)) continue;
    const std::string path = dir + "/" + *name;
    Result<std::unique_ptr<engine::SnapshotReader>> reader = engine::SnapshotReader::open(fs_, path);
    if (reader.status().code() == ErrorCode::kCorruption) {
      log::error("{} -> an older one must do", reader.status().to_string());
      continue;
    }
    if (!reader.ok()) return reader.status();
    FLUX_TRY(const raft::SnapshotMeta meta, decode_meta((*reader)->meta()));
    FLUX_TRY(const std::unique_ptr<env::File> file, fs_.open(path, env::OpenMode::kRead));
    FLUX_TRY(const uint64_t bytes, file->size());
    return std::optional<SavedSnapshot>(SavedSnapshot{.meta = meta, .path = path, .bytes = bytes});
  }
  return std::optional<SavedSnapshot>();
}

void SnapshotStore::forget_older(GroupId group, EntryId) {
  const std::string dir = group_dir(group);
  const Result<std::vector<std::string>> names = fs_.list(dir);
  if (!names.ok()) return;
  size_t seen = 0;
  for (auto name = names->rbegin(); name != names->rend(); ++name) {
    if (!parse_name(*name, kSuffix) || ++seen <= kKept) continue;
    if (Status status = fs_.remove(dir + "/" + *name); !status.ok()) log::warn("{}", status.to_string());
  }
}

Result<uint64_t> SnapshotStore::open_incoming(const SnapshotOpen& open) {
  const std::lock_guard lock(mutex_);
  const auto it = incoming_.find(open.group);
  if (it != incoming_.end()) {
    Incoming& under_way = it->second;
    // The same file again: the sender, or another peer that has it, goes on where it stopped.
    if (under_way.last == open.last && under_way.bytes_total == open.bytes) {
      under_way.term = std::max(under_way.term, open.term);
      if (under_way.bytes_here > 0) FLUX_PROBE("a snapshot goes on where it was");
      // All of it is here, but the group did not take it when it was offered: the last byte comes again, and with it
      // the offer.
      under_way.offered_again = under_way.bytes_here > 0 && under_way.bytes_here == under_way.bytes_total;
      return under_way.offered_again ? under_way.bytes_total - 1 : under_way.bytes_here;
    }
    // That of an earlier leader may never be completed, however new it is.
    if (under_way.last.index > open.last.index && open.term <= under_way.term) {
      return Status(ErrorCode::kPrecondition, "a newer snapshot is on its way already");
    }
    FLUX_PROBE("a newer snapshot begins to arrive");
    under_way.file.reset();
    FLUX_RETURN_IF_ERROR(fs_.remove(incoming_path(open.group, under_way.last)));
    incoming_.erase(it);
  }
  FLUX_TRY(const uint64_t free, fs_.free_bytes(dir_));
  if (free < open.bytes) {
    return Status(ErrorCode::kNoSpace,
                  fmt::format("a snapshot of {} bytes does not fit the {} that are free", open.bytes, free));
  }
  const std::string path = incoming_path(open.group, open.last);
  FLUX_TRY(const bool stale, fs_.exists(path));
  if (stale) FLUX_RETURN_IF_ERROR(fs_.remove(path));
  FLUX_TRY(std::unique_ptr<env::File> file, fs_.open(path, env::OpenMode::kCreate));
  incoming_[open.group] = {
      .last = open.last, .term = open.term, .bytes_total = open.bytes, .bytes_here = 0, .file = std::move(file)};
  return uint64_t{0};
}

Result<bool> SnapshotStore::receive(const SnapshotChunk& chunk) {
  const std::lock_guard lock(mutex_);
  const auto it = incoming_.find(chunk.group);
  if (it == incoming_.end() || it->second.last != chunk.last) {
    return Status(ErrorCode::kPrecondition, "no such snapshot is being received; announce it first");
  }
  Incoming& under_way = it->second;
  const uint64_t end = chunk.offset + chunk.bytes.size();
  if (end <= under_way.bytes_here) {
    // A repeat. It may have been verified by now: what is written after that need not be durable when it is adopted.
    return end == under_way.bytes_total && std::exchange(under_way.offered_again, false);
  }
  if (chunk.offset != under_way.bytes_here || chunk.bytes.size() > under_way.bytes_total - chunk.offset) {
    return Status(ErrorCode::kPrecondition, fmt::format("chunk at {} where {} comes next; announce the snapshot again",
                                                        chunk.offset, under_way.bytes_here));
  }
  FLUX_RETURN_IF_ERROR(under_way.file->write_at(chunk.offset, chunk.bytes));
  under_way.bytes_here += chunk.bytes.size();
  return under_way.bytes_here == under_way.bytes_total;
}

Result<raft::SnapshotMeta> SnapshotStore::verify_incoming(GroupId group, EntryId last) {
  const auto verify = [&]() -> Result<raft::SnapshotMeta> {
    {
      const std::lock_guard lock(mutex_);
      const auto it = incoming_.find(group);
      if (it == incoming_.end() || it->second.last != last) {
        return Status(ErrorCode::kPrecondition, "the snapshot was replaced by another");
      }
      FLUX_RETURN_IF_ERROR(it->second.file->sync());
    }
    FLUX_TRY(const std::unique_ptr<engine::SnapshotReader> reader,
             engine::SnapshotReader::open(fs_, incoming_path(group, last)));
    FLUX_TRY(const raft::SnapshotMeta meta, decode_meta(reader->meta()));
    if (meta.last != last)
      return Status(ErrorCode::kCorruption, fmt::format("it holds {} instead of {}", meta.last, last));
    return meta;
  };
  Result<raft::SnapshotMeta> meta = verify();
  if (!meta.ok()) discard_incoming(group, last);
  return meta;
}

Result<SavedSnapshot> SnapshotStore::adopt(GroupId group, EntryId last) {
  uint64_t bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto it = incoming_.find(group);
    if (it == incoming_.end() || it->second.last != last) {
      return Status(ErrorCode::kPrecondition, "the snapshot was replaced by another");
    }
    bytes = it->second.bytes_total;
    incoming_.erase(it);
  }
  const std::string path = path_of(group, last);
  FLUX_RETURN_IF_ERROR(fs_.rename(incoming_path(group, last), path));
  FLUX_RETURN_IF_ERROR(fs_.sync_dir(group_dir(group)));
  forget_older(group, last);
  return SavedSnapshot{.meta = {.last = last, .membership = {}}, .path = path, .bytes = bytes};
}

void SnapshotStore::discard_incoming(GroupId group, EntryId last) {
  const std::lock_guard lock(mutex_);
  const auto it = incoming_.find(group);
  if (it == incoming_.end() || it->second.last != last) return;
  incoming_.erase(it);
  if (Status status = fs_.remove(incoming_path(group, last)); !status.ok()) log::warn("{}", status.to_string());
}

Status SnapshotStore::load(const std::string& path, engine::Engine& engine) {
  Result<std::unique_ptr<engine::SnapshotReader>> reader = engine::SnapshotReader::open(fs_, path);
  if (!reader.ok()) return reader.status();
  return engine.load(**reader);
}

}  // namespace flux::node
