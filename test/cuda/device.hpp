// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What the CUDA tests share: memory with guards, and a main that says why it skips.
///
/// The same files run in two ways: built by nvcc, on a device; built as C++ with test/support/cuda_on_host before the
/// toolkit's headers, on the host. Included after the header under test: Kokkos is started where that one needs it.

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

/// Device memory for n objects, `shift` objects past an aligned address, with guards on both sides.
template <class T>
class device_array {
  static constexpr std::size_t guard = 256;
  std::size_t size_ = 0, shift_ = 0;
  unsigned char* base_ = nullptr;

  [[nodiscard]] std::size_t front() const { return guard + shift_ * sizeof(T); }
  [[nodiscard]] std::size_t total() const { return front() + size_ * sizeof(T) + guard; }

 public:
  explicit device_array(std::size_t n, std::size_t shift = 0) : size_(n), shift_(shift) {
    void* p = nullptr;
    REQUIRE(cudaMalloc(&p, total()) == cudaSuccess);
    base_ = static_cast<unsigned char*>(p);
    REQUIRE(cudaMemsetAsync(p, 0xa5, total(), nullptr) == cudaSuccess);
    REQUIRE(cudaStreamSynchronize(nullptr) == cudaSuccess);
  }
  explicit device_array(std::vector<T> const& host, std::size_t shift = 0) : device_array(host.size(), shift) {
    REQUIRE(cudaMemcpy(data(), host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  device_array(device_array const&) = delete;
  device_array& operator=(device_array const&) = delete;
  ~device_array() { static_cast<void>(cudaFree(base_)); }

  [[nodiscard]] T* data() const { return reinterpret_cast<T*>(base_ + front()); }
  /// What it holds now; fails where a guard was written to.
  [[nodiscard]] std::vector<T> read() const {
    std::vector<unsigned char> all(total());
    REQUIRE(cudaMemcpy(all.data(), base_, total(), cudaMemcpyDeviceToHost) == cudaSuccess);
    bool whole = true;
    for (std::size_t i = 0; i < front(); ++i) whole = whole && all[i] == 0xa5;
    for (std::size_t i = total() - guard; i < total(); ++i) whole = whole && all[i] == 0xa5;
    CHECK_MESSAGE(whole, "memory outside an array was written");
    std::vector<T> host(size_);
    if (size_ != 0) std::memcpy(host.data(), all.data() + front(), size_ * sizeof(T));
    return host;
  }
};

int main(int argc, char** argv) {
  int devices = 0;
  auto const error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device: %s\n", error == cudaSuccess ? "none found" : cudaGetErrorString(error));
    return 0;
  }
#if defined(KOKKOS_VERSION)
  Kokkos::ScopeGuard const kokkos(argc, argv);
#endif
  return doctest::Context(argc, argv).run();
}
