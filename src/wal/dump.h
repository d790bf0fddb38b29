// The contents of a log for people: segments, batches, records, damage. Changes nothing; works beside a running process
// as far as that has synced.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "env/fs.h"

namespace flux::wal {

// Calls `print` with one line after the other. Payloads are shown by size and checksum only: they hold users' data.
// Errors: those of Wal::open() for files that cannot be one log; what came before has been printed.
Status dump(env::Fs& fs, const std::string& dir, const std::function<void(std::string_view line)>& print);

}  // namespace flux::wal
