// Goal: each file of testdata/ tells one scenario, and the nodes still think, say and do what it says.
// FLUX_REWRITE=1 rewrites the files: only keep what you have read and understood.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "raft/testing/dialog.h"

namespace flux::raft::testing {
namespace {

std::vector<std::string> dialogs() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(FLUX_SOURCE_DIR "/src/raft/testdata")) {
    if (file.path().extension() == ".txt") names.push_back(file.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class RaftDialog : public ::testing::TestWithParam<std::string> {};

TEST_P(RaftDialog, goes_as_told) {
  const std::string path = FLUX_SOURCE_DIR "/src/raft/testdata/" + GetParam() + ".txt";
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  const std::string result = run_dialog(text.str());
  EXPECT_EQ(result.find("VIOLATION"), std::string::npos);
  if (std::getenv("FLUX_REWRITE") != nullptr) {
    std::ofstream(path) << result;
  } else {
    EXPECT_EQ(result, text.str());
  }
}

INSTANTIATE_TEST_SUITE_P(Testdata, RaftDialog, ::testing::ValuesIn(dialogs()),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace flux::raft::testing
