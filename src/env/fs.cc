#include "env/fs.h"

#include <fmt/core.h>

namespace flux::env {

Result<std::string> read_file(Fs& fs, const std::string& path, uint64_t size_max) {
  FLUX_TRY(const std::unique_ptr<File> file, fs.open(path, OpenMode::kRead));
  FLUX_TRY(const uint64_t size, file->size());
  if (size > size_max) {
    return Status(ErrorCode::kCorruption,
                  fmt::format("{} has {} bytes; at most {} are expected", path, size, size_max));
  }
  return file->read_at(0, size);
}

Status write_file_atomically(Fs& fs, const std::string& dir, const std::string& name, std::string_view contents) {
  const std::string final_path = dir + "/" + name;
  const std::string temporary_path = final_path + ".tmp";
  FLUX_TRY(const bool left_over, fs.exists(temporary_path));
  if (left_over) FLUX_RETURN_IF_ERROR(fs.remove(temporary_path));
  {
    FLUX_TRY(const std::unique_ptr<File> file, fs.open(temporary_path, OpenMode::kCreate));
    FLUX_RETURN_IF_ERROR(file->write_at(0, contents));
    FLUX_RETURN_IF_ERROR(file->sync());
  }
  FLUX_RETURN_IF_ERROR(fs.rename(temporary_path, final_path));
  return fs.sync_dir(dir);
}

}  // namespace flux::env
