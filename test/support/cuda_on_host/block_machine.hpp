// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Runs CUDA kernels on the host, so that their logic is tested where there is no device. Tests only.
///
/// Each block is a host thread, each of its threads a fiber: barriers and warp operations switch fibers, blocks of a
/// cooperative grid run at the same time. It shows wrong indices, races through missing grid barriers and threads that
/// wait at different barriers. It does not show speed, missing __syncwarp, or alignment faults.

#include <ucontext.h>

#include <algorithm>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace cuda_on_host {

struct index3 {
  unsigned x = 1, y = 1, z = 1;
};
// Who runs now; the scheduler sets them whenever it switches fibers.
inline thread_local index3 threadIdx, blockIdx, blockDim, gridDim;

/// One launch: what all of its blocks share.
struct grid_run {
  unsigned blocks, threads;
  std::function<void()> const& kernel;
  std::barrier<>* all_blocks;  ///< null unless cooperative
};

/// Counts the fibers that wait; the last to arrive lets all go on.
struct fiber_barrier {
  unsigned members = 0, arrived = 0, generation = 0;
};

/// A block at work on one host thread.
class block_machine {
  struct fiber {
    ucontext_t context;
    bool done;
  };
  static constexpr std::size_t stack_bytes = 32 * 1024, most_threads = 1024;

  /// Stacks for the fibers of one block, kept for later launches: fresh pages cost more than the kernels.
  struct stack_room {
    static inline std::mutex guard;
    static inline std::vector<std::unique_ptr<char[]>> idle;
    std::unique_ptr<char[]> memory;
    stack_room() {
      std::lock_guard const lock(guard);
      if (idle.empty()) {
        memory.reset(new char[stack_bytes * most_threads]);
      } else {
        memory = std::move(idle.back());
        idle.pop_back();
      }
    }
    ~stack_room() {
      std::lock_guard const lock(guard);
      idle.push_back(std::move(memory));
    }
  };

  grid_run const& run_;
  stack_room stacks_;
  std::vector<fiber> fibers_;
  std::vector<fiber_barrier> warps_;
  fiber_barrier all_;
  ucontext_t scheduler_;
  std::uint64_t progress_ = 0;

  static block_machine*& current() {
    static thread_local block_machine* machine = nullptr;
    return machine;
  }
  static void enter() {
    auto& self = here();
    self.run_.kernel();
    self.fibers_[self.thread].done = true;
    self.leave(self.all_);
    self.leave(self.warps_[self.thread / 32]);
  }
  void release(fiber_barrier& b) { b.arrived = 0, ++b.generation; }
  void leave(fiber_barrier& b) {
    ++progress_;
    if (--b.members > 0 && b.arrived == b.members) release(b);
  }
  void wait(fiber_barrier& b) {
    ++progress_;
    auto const me = thread;
    auto const generation = b.generation;
    if (++b.arrived == b.members) return release(b);
    while (b.generation == generation) swapcontext(&fibers_[me].context, &scheduler_);
  }

 public:
  unsigned thread = 0;                ///< which fiber runs now
  std::vector<std::uint64_t> posted;  ///< one word a thread, for exchanges between them

  explicit block_machine(grid_run const& run)
      : run_(run), fibers_(run.threads), warps_((run.threads + 31) / 32), posted(run.threads) {}
  static block_machine& here() { return *current(); }

  void execute(unsigned which) {
    current() = this;
    blockIdx = {which, 0, 0};
    blockDim = {run_.threads, 1, 1};
    gridDim = {run_.blocks, 1, 1};
    all_ = {run_.threads};
    for (unsigned w = 0; w < warps_.size(); ++w) warps_[w] = {std::min(32u, run_.threads - w * 32)};
    auto* stack = stacks_.memory.get();
    for (auto& f : fibers_) {
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = std::exchange(stack, stack + stack_bytes);
      f.context.uc_stack.ss_size = stack_bytes;
      f.context.uc_link = &scheduler_;
      makecontext(&f.context, &enter, 0);
      f.done = false;
    }
    for (bool busy = true; busy;) {
      busy = false;
      auto const before = progress_;
      for (unsigned t = 0; t < fibers_.size(); ++t)
        if (!fibers_[t].done) {
          busy = true;
          thread = t;
          threadIdx = {t, 0, 0};
          swapcontext(&scheduler_, &fibers_[t].context);
        }
      if (busy && progress_ == before) {
        std::fprintf(stderr, "cuda_on_host: block %u: its threads wait at different barriers\n", which);
        std::abort();
      }
    }
  }
  void sync_block() { wait(all_); }
  void sync_warp() { wait(warps_[thread / 32]); }
  void sync_grid() {
    if (run_.all_blocks == nullptr) std::abort();
    sync_block();
    if (thread == 0) run_.all_blocks->arrive_and_wait();
    sync_block();
  }
};

/// Runs all blocks of a launch and returns when they are done.
inline void execute(unsigned blocks, unsigned threads, bool cooperative, std::function<void()> const& kernel) {
  std::barrier<> all_blocks(static_cast<std::ptrdiff_t>(blocks));
  grid_run const run{blocks, threads, kernel, cooperative ? &all_blocks : nullptr};
  auto const hosts = cooperative ? blocks : std::min(blocks, 2u);
  std::vector<std::thread> pool;
  for (unsigned h = 0; h < hosts; ++h)
    pool.emplace_back([&run, h, hosts] {
      block_machine machine(run);
      for (auto b = h; b < run.blocks; b += hosts) machine.execute(b);
    });
  for (auto& t : pool) t.join();
}

}  // namespace cuda_on_host
