// SPDX-License-Identifier: Apache-2.0
#pragma once

// The paired harness: a memcpy of the same n floats is timed right before every sample, and the median of the ratios is
// reported with its quartiles. On a shared machine times double for minutes; the ratios stay. 1 M = one memcpy.
// Every case checks its own answer in the same run.

#include <Kokkos_Core.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace gradpress::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// n floats on huge pages where the system gives them, touched before use.
class array {
  std::unique_ptr<float, void (*)(void*)> data_;
  std::size_t n_;

 public:
  explicit array(std::size_t n) : data_(nullptr, std::free), n_(n) {
    constexpr std::size_t page = std::size_t{2} << 20;
    auto const bytes = (n * sizeof(float) + page) / page * page;
    data_.reset(static_cast<float*>(std::aligned_alloc(page, bytes)));
#if defined(__linux__)
    madvise(data_.get(), bytes, MADV_HUGEPAGE);
#endif
    std::memset(static_cast<void*>(data_.get()), 0, bytes);
  }
  [[nodiscard]] float* data() const { return data_.get(); }
  [[nodiscard]] std::size_t size() const { return n_; }
  float& operator[](std::size_t i) const { return data_.get()[i]; }
};

inline std::uint64_t splitmix(std::uint64_t& s) {
  std::uint64_t z = (s += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/// Gradient-like: normal numbers under a scale that changes from layer to layer.
inline void fill_gradient(array const& x, std::uint64_t seed) {
  constexpr std::size_t layer = 65536;
  for (std::size_t b = 0; b < x.size(); b += layer) {
    std::uint64_t s = seed * 1000003u + b;
    auto const scale = 1e-3 * std::exp2(static_cast<double>(splitmix(s) % 5) - 2);
    for (std::size_t i = b; i < std::min(x.size(), b + layer); i += 2) {
      auto const u1 = static_cast<double>((splitmix(s) >> 11) + 1) * 0x1p-53,
                 u2 = static_cast<double>(splitmix(s) >> 11) * 0x1p-53;
      auto const radius = scale * std::sqrt(-2 * std::log(u1)), angle = 6.283185307179586 * u2;
      x[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < x.size()) x[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
  }
}

struct options {
  std::size_t n = 25600000;
  int repetitions = 9;
  std::string json, only;
};
inline options parse(int argc, char** argv, char const* what) {
  options o;
  for (int i = 1; i < argc; ++i) {
    std::string const a = argv[i];
    auto const value = [&] {
      if (i + 1 >= argc) std::fprintf(stderr, "%s needs a value\n", a.c_str()), std::exit(2);
      return std::string(argv[++i]);
    };
    if (a == "--n")
      o.n = std::stoul(value());
    else if (a == "--repetitions")
      o.repetitions = std::stoi(value());
    else if (a == "--json")
      o.json = value();
    else if (a == "--only")
      o.only = value();
    else if (a == "--quick")
      o.n = 1000000, o.repetitions = 3;
    else {
      std::printf(
          "%s\n\n  --n N             elements (25600000)\n  --repetitions R   samples a case (9)\n  --only TEXT       "
          "cases whose name contains TEXT\n"
          "  --json FILE       one JSON object a line\n  --quick           1000000 elements, 3 samples\n",
          what);
      std::exit(a == "--help" ? 0 : 2);
    }
  }
  return o;
}

/// Between neighbours in proportion, so that three samples have quartiles too.
inline double quantile(std::vector<double> v, double q) {
  std::sort(v.begin(), v.end());
  auto const at = q * static_cast<double>(v.size() - 1);
  auto const below = static_cast<std::size_t>(at);
  auto const above = std::min(below + 1, v.size() - 1);
  return v[below] + (at - static_cast<double>(below)) * (v[above] - v[below]);
}

/// Times cases against memcpy, interleaved, and prints a line each.
class harness {
  options options_;
  std::string bench_;
  array from_, to_;
  int threads_;
  std::ofstream json_;
  bool all_good_ = true;

 public:
  harness(options o, std::string bench, int threads)
      : options_(std::move(o)), bench_(std::move(bench)), from_(options_.n), to_(options_.n), threads_(threads) {
    fill_gradient(from_, 1);
    if (!options_.json.empty()) json_.open(options_.json, std::ios::app);
    std::printf("# n = %zu, %d thread%s; ratios to one memcpy of n floats: median [quartiles]\n", options_.n, threads_,
                threads_ == 1 ? "" : "s");
  }
  [[nodiscard]] std::size_t n() const { return options_.n; }
  [[nodiscard]] bool good() const { return all_good_; }
  [[nodiscard]] bool wants(std::string const& name) const { return name.find(options_.only) != std::string::npos; }

  /// `check` runs once, after the first (untimed) call of `body`. `floor` is the least bytes an element over 8, `must`
  /// the goal; 0 where there is none. What handles `entries` and not n elements is also told in nanoseconds an entry.
  void add(std::string const& name, double floor, double must, std::function<void()> const& body,
           std::function<bool()> const& check, std::size_t entries = 0) {
    if (!wants(name)) return;
    body();
    bool const right = check();
    all_good_ &= right;
    std::vector<double> ratio, seconds;
    for (int r = 0; r < options_.repetitions; ++r) {
      auto const t0 = now();
      copy();
      auto const t1 = now();
      body();
      auto const t2 = now();
      ratio.push_back((t2 - t1) / (t1 - t0));
      seconds.push_back(t2 - t1);
    }
    auto const ms = quantile(seconds, 0.5) * 1e3, each = entries ? ms * 1e6 / static_cast<double>(entries) : 0.;
    auto const figure = [](char const* label, double value, char const* unit) {
      char text[40] = "";
      if (value > 0) std::snprintf(text, sizeof text, "%s %.3f%s", label, value, unit);
      return std::string(text);
    };
    std::printf("%-44s %6.3f M [%6.3f .. %6.3f]  %9.3f ms  %-8s %-12s %-11s %s\n", name.c_str(), quantile(ratio, 0.5),
                quantile(ratio, 0.25), quantile(ratio, 0.75), ms, right ? "checked" : "WRONG",
                figure("floor", floor, "").c_str(), figure("must", must, "").c_str(),
                figure("", each, " ns an entry").c_str());
    std::fflush(stdout);
    if (json_.is_open())
      json_ << "{\"bench\": \"" << bench_ << "\", \"name\": \"" << name << "\", \"n\": " << options_.n
            << ", \"threads\": " << threads_ << ", \"m\": {\"q1\": " << quantile(ratio, 0.25)
            << ", \"median\": " << quantile(ratio, 0.5) << ", \"q3\": " << quantile(ratio, 0.75) << "}, \"ms\": " << ms
            << ", \"floor\": " << floor << ", \"must\": " << must << ", \"ns_an_entry\": " << each
            << ", \"checked\": " << (right ? "true" : "false") << "}\n"
            << std::flush;
  }

  /// Times `body` against `beside`, interleaved, and prints the ratio of their times; `must` is the most that it may be.
  void compare(std::string const& name, double must, std::function<void()> const& body,
               std::function<void()> const& beside, std::function<bool()> const& check) {
    if (!wants(name)) return;
    body(), beside();
    bool const right = check();
    all_good_ &= right;
    std::vector<double> ratio;
    for (int r = 0; r < options_.repetitions; ++r) {
      auto const t0 = now();
      beside();
      auto const t1 = now();
      body();
      ratio.push_back((now() - t1) / (t1 - t0));
    }
    std::printf("%-56s %6.3f times [%6.3f .. %6.3f]  %-8s must %.3f\n", name.c_str(), quantile(ratio, 0.5),
                quantile(ratio, 0.25), quantile(ratio, 0.75), right ? "checked" : "WRONG", must);
    std::fflush(stdout);
  }

 private:
  /// memcpy by as many threads as the kernels use.
  void copy() {
    auto const part = [&](int t) {
      auto const n = options_.n, lo = n * static_cast<std::size_t>(t) / static_cast<std::size_t>(threads_),
                 hi = n * static_cast<std::size_t>(t + 1) / static_cast<std::size_t>(threads_);
      std::memcpy(to_.data() + lo, from_.data() + lo, (hi - lo) * sizeof(float));
    };
    if (threads_ == 1) return part(0);
    Kokkos::parallel_for("gradpress::bench::copy",
                         Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(0, static_cast<std::size_t>(threads_)),
                         [&](std::size_t t) { part(static_cast<int>(t)); });
  }
};

}  // namespace gradpress::bench
