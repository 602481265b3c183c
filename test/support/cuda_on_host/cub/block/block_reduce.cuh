// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// cub::BlockReduce, on the host: only thread 0 learns the result.

#include <cuda_runtime.h>

namespace cub {
template <class T, int Threads>
class BlockReduce {
 public:
  struct TempStorage {
    T own[static_cast<unsigned>(Threads)];
  };
  explicit BlockReduce(TempStorage& memory) : memory_(memory) {}
  T Sum(T own) {
    return fold(own, [](T a, T b) { return a + b; });
  }
  template <class Combine>
  T Reduce(T own, Combine combine) {
    return fold(own, combine);
  }

 private:
  template <class Combine>
  T fold(T own, Combine const& combine) {
    auto const t = threadIdx.x;
    memory_.own[t] = own;
    __syncthreads();
    if (t != 0) return static_cast<T>(-77);
    T all = memory_.own[0];
    for (int i = 1; i < Threads; ++i) all = combine(all, memory_.own[i]);
    return all;
  }
  TempStorage& memory_;
};
}  // namespace cub
