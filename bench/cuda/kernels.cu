// SPDX-License-Identifier: Apache-2.0

// The CUDA kernels against a copy inside the device's memory, in one run: rounds of copies and of calls alternate, timed
// by events, and the median of the ratios is reported with its quartiles. 1 M = one copy of n floats (8 bytes an element
// moved). Every case checks its own answer.
//
//   nvcc -std=c++20 -O3 -arch=native --expt-extended-lambda --expt-relaxed-constexpr -I include -I bench -I $K/include
//        bench/cuda/kernels.cu -o kernels -L $K/lib -lkokkoscore -lcuda         (K: a Kokkos built with CUDA)

#include <gradpress/kernel/cuda/int_decode.cuh>
#include <gradpress/kernel/cuda/select_above.cuh>
#include <gradpress/kernel/cuda/top_k.cuh>
#include <gradpress/kernel/device/compact_above.hpp>
#include <gradpress/kernel/device/stochastic_int.hpp>
#include <gradpress/kernel/stochastic_int.hpp>

#include <support/harness.hpp>
#include <support/is_top_k.hpp>

#include <bit>

namespace gp = gradpress;
namespace device = gp::kernel::cuda;
namespace bench = gp::bench;

namespace {

void must_work(cudaError_t error, char const* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

/// n objects in the device's memory.
template <class T>
class device_array {
  T* data_ = nullptr;
  std::size_t n_;

 public:
  explicit device_array(std::size_t n) : n_(n) {
    must_work(cudaMalloc(reinterpret_cast<void**>(&data_), n * sizeof(T)), "cudaMalloc");
    must_work(cudaMemset(data_, 0, n * sizeof(T)), "cudaMemset");
  }
  device_array(device_array const&) = delete;
  device_array& operator=(device_array const&) = delete;
  ~device_array() { static_cast<void>(cudaFree(data_)); }
  [[nodiscard]] T* data() const { return data_; }
  void write(T const* host) { must_work(cudaMemcpy(data_, host, n_ * sizeof(T), cudaMemcpyHostToDevice), "write"); }
  [[nodiscard]] std::vector<T> read(std::size_t n) const {
    std::vector<T> host(n);
    must_work(cudaMemcpy(host.data(), data_, n * sizeof(T), cudaMemcpyDeviceToHost), "read");
    return host;
  }
};

/// Times calls on a stream against copies, interleaved.
class device_harness {
  bench::options options_;
  std::string device_;
  Kokkos::Cuda exec_;
  device_array<float> from_, to_;
  cudaEvent_t at_[3]{};
  std::ofstream json_;
  bool all_good_ = true;

 public:
  explicit device_harness(bench::options o) : options_(std::move(o)), from_(options_.n), to_(options_.n) {
    cudaDeviceProp properties{};
    must_work(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    device_ = properties.name;
    std::printf("# %s, n = %zu; ratios to one copy of n floats: median [quartiles]\n", device_.c_str(), options_.n);
    for (auto& e : at_) must_work(cudaEventCreate(&e), "cudaEventCreate");
    if (!options_.json.empty()) json_.open(options_.json, std::ios::app);
  }
  [[nodiscard]] std::size_t n() const { return options_.n; }
  [[nodiscard]] bool good() const { return all_good_; }
  [[nodiscard]] Kokkos::Cuda const& exec() const { return exec_; }
  [[nodiscard]] cudaStream_t stream() const { return exec_.cuda_stream(); }

  /// `bytes`: the least an element that must move. `check` runs once, after the first (untimed) call.
  void add(std::string const& name, double bytes, std::function<cudaError_t()> const& body,
           std::function<bool()> const& check) {
    if (name.find(options_.only) == std::string::npos) return;
    must_work(body(), name.c_str());
    must_work(cudaStreamSynchronize(stream()), name.c_str());
    bool const right = check();
    all_good_ &= right;
    auto const calls = options_.n >= 8000000 ? 5 : 20;
    std::vector<double> ratio, microseconds;
    for (int r = 0; r < options_.repetitions; ++r) {
      static_cast<void>(cudaEventRecord(at_[0], stream()));
      for (int c = 0; c < calls; ++c)
        static_cast<void>(
            cudaMemcpyAsync(to_.data(), from_.data(), options_.n * 4, cudaMemcpyDeviceToDevice, stream()));
      static_cast<void>(cudaEventRecord(at_[1], stream()));
      for (int c = 0; c < calls; ++c) static_cast<void>(body());
      static_cast<void>(cudaEventRecord(at_[2], stream()));
      must_work(cudaEventSynchronize(at_[2]), name.c_str());
      float copies = 0, bodies = 0;
      must_work(cudaEventElapsedTime(&copies, at_[0], at_[1]), "time");
      must_work(cudaEventElapsedTime(&bodies, at_[1], at_[2]), "time");
      ratio.push_back(double{bodies} / double{copies});
      microseconds.push_back(double{bodies} * 1e3 / calls);
    }
    auto const us = bench::quantile(microseconds, 0.5);
    std::printf("%-40s %6.3f M [%6.3f .. %6.3f]  %9.1f us  %6.0f GB/s  floor %.3f  %s\n", name.c_str(),
                bench::quantile(ratio, 0.5), bench::quantile(ratio, 0.25), bench::quantile(ratio, 0.75), us,
                bytes * static_cast<double>(options_.n) / us * 1e-3, bytes / 8, right ? "checked" : "WRONG");
    std::fflush(stdout);
    if (json_.is_open())
      json_ << "{\"bench\": \"cuda\", \"device\": \"" << device_ << "\", \"name\": \"" << name
            << "\", \"n\": " << options_.n << ", \"m\": {\"q1\": " << bench::quantile(ratio, 0.25)
            << ", \"median\": " << bench::quantile(ratio, 0.5) << ", \"q3\": " << bench::quantile(ratio, 0.75)
            << "}, \"us\": " << us << ", \"floor\": " << bytes / 8 << ", \"checked\": " << (right ? "true" : "false")
            << "}\n"
            << std::flush;
  }
};

std::uint32_t magnitude(float v) { return std::bit_cast<std::uint32_t>(v) & 0x7fffffffu; }

/// The k largest of x, and their values beside them.
bool is_top_k(float const* x, std::size_t n, std::vector<std::uint32_t> const& index, std::vector<float> const& value) {
  for (std::size_t j = 0; j < index.size(); ++j)
    if (index[j] >= n || value[j] != x[index[j]]) return false;
  return bench::is_top_k(x, n, index);
}

}  // namespace

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 0;
  }
  auto const options = bench::parse(argc, argv, "CUDA kernels against a copy in the device's memory");
  Kokkos::ScopeGuard const kokkos(argc, argv);
  device_harness h(options);
  auto const n = h.n();

  bench::array const g(n), e(n);
  bench::fill_gradient(g, 1);
  bench::fill_gradient(e, 2);
  std::vector<float> sum(n);
  for (std::size_t i = 0; i < n; ++i) sum[i] = g[i] + e[i];
  device_array<float> dg(n), de(n), da(n);
  dg.write(g.data());
  de.write(e.data());
  device_array<std::uint32_t> flag(1), count(1);
  auto const finite = [&] { return flag.read(1)[0] == 0; };

  for (auto const& [label, k] : {std::pair{".1 %", n / 1000}, {"1 %", n / 100}, {"10 %", n / 10}}) {
    device_array<std::byte> work(device::top_k_workspace_bytes(n, k));
    device_array<std::uint32_t> index(k);
    device_array<float> value(k);
    device::top_k_result const to{index.data(), value.data(), flag.data()};
    h.add(
        std::string("top-k ") + label, 4, [&] { return device::top_k(h.stream(), dg.data(), n, k, work.data(), to); },
        [&] { return finite() && is_top_k(g.data(), n, index.read(k), value.read(k)); });
    h.add(
        std::string("EF + top-k ") + label, 12,
        [&] { return device::top_k_sum(h.stream(), dg.data(), de.data(), da.data(), n, k, work.data(), to); },
        [&] { return finite() && da.read(n) == sum && is_top_k(sum.data(), n, index.read(k), value.read(k)); });
  }
  {
    auto const k = n / 1000;
    std::vector<float> const same(n, 1.5f);
    da.write(same.data());
    device_array<std::byte> work(device::top_k_workspace_bytes(n, k));
    device_array<std::uint32_t> index(k);
    device_array<float> value(k);
    device::top_k_result const to{index.data(), value.data(), flag.data()};
    h.add(
        "top-k .1 %, all equal: the slow path", 24,
        [&] { return device::top_k(h.stream(), da.data(), n, k, work.data(), to); },
        [&] { return is_top_k(same.data(), n, index.read(k), value.read(k)); });
  }
  {
    std::vector<std::uint32_t> all(n);
    for (std::size_t i = 0; i < n; ++i) all[i] = magnitude(g[i]);
    auto const k = n / 1000;
    std::nth_element(all.begin(), all.end() - static_cast<std::ptrdiff_t>(k), all.end());
    auto const tau = all[n - k];
    auto const capacity = 2 * k;
    device_array<std::byte> work(device::select_above_workspace_bytes(n, capacity));
    device_array<std::uint32_t> index(capacity), words(gp::kernel::device::compact_workspace_words(n, capacity));
    device_array<float> value(capacity);
    auto const right = [&] {
      auto const found = count.read(1)[0];
      return found >= k && found <= capacity && is_top_k(g.data(), n, index.read(found), value.read(found));
    };
    h.add(
        "threshold .1 %", 4,
        [&] {
          return device::select_above(h.stream(), dg.data(), n, tau, work.data(),
                                      {index.data(), value.data(), capacity, count.data(), flag.data()});
        },
        right);
    using view = gp::view<Kokkos::Cuda, gp::index_t>;
    h.add(
        "threshold .1 %, as teams", 4,
        [&] {
          gp::kernel::device::compact_above<Kokkos::Cuda>(
              h.exec(), gp::in<Kokkos::Cuda>(dg.data(), n), tau, view(index.data(), capacity),
              gp::view<Kokkos::Cuda>(value.data(), capacity), view(count.data(), 1),
              view(words.data(), gp::kernel::device::compact_workspace_words(n, capacity)));
          return cudaPeekAtLastError();
        },
        right);
  }

  constexpr std::size_t block = 1024;
  constexpr std::uint64_t key = 0x0123456789abcdefu;
  for (int const bits : {8, 4, 2}) {
    auto const bytes = gp::kernel::int_bytes(n, bits, block);
    auto const each = static_cast<double>(bytes) / static_cast<double>(n);
    device_array<std::byte> codes(bytes);
    std::vector<std::byte> want(bytes);
    std::vector<float> rest(n);
    auto const label = std::to_string(bits) + " bit";
    auto const encode = [&](std::string const& name, bool stochastic, bool memory, auto const& call) {
      h.add(name, (memory ? 12 : 4) + each, call, [&, stochastic, memory] {
        auto const ok = memory ? gp::kernel::int_encode_sum(gp::serial{}, g.data(), e.data(), rest.data(), n, bits,
                                                            block, stochastic, key, want.data())
                               : gp::kernel::int_encode_sum(gp::serial{}, g.data(), nullptr, nullptr, n, bits, block,
                                                            stochastic, key, want.data());
        return ok && finite() && codes.read(bytes) == want && (!memory || da.read(n) == rest);
      });
    };
    encode(label + ", stochastic", true, false, [&] {
      return device::int_encode(h.stream(), dg.data(), n, bits, block, true, key, codes.data(), flag.data());
    });
    encode(label + ", nearest", false, false, [&] {
      return device::int_encode(h.stream(), dg.data(), n, bits, block, false, key, codes.data(), flag.data());
    });
    encode("EF + " + label + ", stochastic", true, true, [&] {
      return device::int_encode_sum(h.stream(), dg.data(), de.data(), da.data(), n, bits, block, true, key,
                                    codes.data(), flag.data());
    });
    encode("EF + " + label + ", as teams", true, true, [&] {
      gp::kernel::device::int_encode_sum(h.exec(), dg.data(), de.data(), da.data(), n, bits, block, true, key,
                                         codes.data(), flag.data());
      return cudaPeekAtLastError();
    });
    gp::kernel::int_encode_sum(gp::serial{}, g.data(), nullptr, nullptr, n, bits, block, true, key, want.data());
    codes.write(want.data());
    h.add(
        "decode " + label, 4 + each,
        [&] { return device::int_decode(h.stream(), codes.data(), n, bits, block, da.data()); },
        [&] {
          gp::kernel::int_decode(gp::serial{}, want.data(), n, bits, block, rest.data());
          return da.read(n) == rest;
        });
    da.write(e.data());
    h.add(
        "decode " + label + " and add", 8 + each,
        [&] { return device::int_accumulate(h.stream(), codes.data(), n, bits, block, 1.0f, da.data()); },
        [&] {
          std::copy(e.data(), e.data() + n, rest.begin());
          gp::kernel::int_accumulate(gp::serial{}, want.data(), n, bits, block, 1.0f, rest.data());
          return da.read(n) == rest;
        });
  }
  return h.good() ? 0 : 1;
}
