#include "env/posix/thread_executor.h"

#include <pthread.h>

namespace flux::env {

ThreadExecutor::ThreadExecutor(const char* name) : thread_([this] { run(); }) {
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

void ThreadExecutor::run() {
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
