#include "env/posix/thread_executor.h"

#include <pthread.h>
#include <sys/resource.h>

namespace flux::env {
namespace {

constexpr int kLowNice = 10;

}  // namespace

ThreadExecutor::ThreadExecutor(const char* name, Priority priority) : thread_([this, priority] { run(priority); }) {
  pthread_setname_np(thread_.native_handle(), name);
}

ThreadExecutor::~ThreadExecutor() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_one();
  thread_.join();
}

void ThreadExecutor::submit(Loop& reply_to, Task write, Task sync, Task done) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({&reply_to, std::move(write), std::move(sync), std::move(done)});
  }
  ready_.notify_one();
}

void ThreadExecutor::run(Priority priority) {
  // Of this thread alone, on Linux; where it is not allowed nothing is lost.
  if (priority == Priority::kLow) setpriority(PRIO_PROCESS, 0, kLowNice);
  std::unique_lock lock(mutex_);
  while (true) {
    ready_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job.write();
    job.sync();
    job.reply_to->post(std::move(job.done));
    lock.lock();
  }
}

}  // namespace flux::env
