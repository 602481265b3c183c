// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// cub::BlockScan, on the host.

#include <cuda_runtime.h>

namespace cub {
template <class T, int Threads>
class BlockScan {
 public:
  struct TempStorage {
    T before[static_cast<unsigned>(Threads) + 1];
  };
  explicit BlockScan(TempStorage& memory) : memory_(memory) {}
  void ExclusiveSum(T own, T& before) {
    T total;
    ExclusiveSum(own, before, total);
  }
  void ExclusiveSum(T own, T& before, T& total) {
    auto const t = threadIdx.x;
    memory_.before[t + 1] = own;
    __syncthreads();
    if (t == 0) {
      memory_.before[0] = 0;
      for (int i = 0; i < Threads; ++i) memory_.before[i + 1] += memory_.before[i];
    }
    __syncthreads();
    before = memory_.before[t];
    total = memory_.before[Threads];
  }

 private:
  TempStorage& memory_;
};
}  // namespace cub
