// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every communicator must do, with or without operations of its own. Throws on the first violation, on the rank
// that sees it, so that it can be called from any thread or process.

#include <gradpress/communicate/derived.hpp>
#include <gradpress/core/philox.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace gradpress::test {

/// Hides everything but the one required operation.
template <class C>
struct gather_only {
  C& inner;
  int rank() { return inner.rank(); }
  int size() { return inner.size(); }
  void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) { inner.all_gather(mine, all); }
};
template <class C>
gather_only(C&) -> gather_only<C>;

template <class T>
std::vector<T> numbers(int rank, std::size_t n) {
  std::vector<T> x(n);
  for (std::size_t i = 0; i < n; ++i) {
    auto const u = key{static_cast<std::uint64_t>(rank) + 3}.uniform(i) - 0.5f;
    if constexpr (std::is_integral_v<T>)
      x[i] = static_cast<T>(u * 7);
    else if constexpr (std::is_floating_point_v<T>)
      x[i] = static_cast<T>(u);
    else
      x[i] = narrow<T>(u);
  }
  return x;
}

inline void demand(bool good, std::string const& what) {
  if (!good) throw std::runtime_error("communicator law broken: " + what);
}

template <class T>
double value(T x) {
  if constexpr (std::is_arithmetic_v<T>)
    return static_cast<double>(x);
  else
    return static_cast<double>(to_float(x));
}

/// numbers() of every rank.
template <class T>
std::vector<std::vector<T>> numbers_of_all(int ranks, std::size_t n) {
  std::vector<std::vector<T>> all;
  for (int p = 0; p < ranks; ++p) all.push_back(numbers<T>(p, n));
  return all;
}

template <class T, class C>
void check_sums(C& c, std::size_t n, char const* name) {
  auto const inputs = numbers_of_all<T>(c.size(), n);
  auto x = inputs[static_cast<std::size_t>(c.rank())];
  collective::room_t room;
  collective::all_reduce_sum(c, std::span(x), room);
  for (std::size_t i = 0; i < n; ++i) {
    double sum = 0;
    for (auto const& input : inputs) sum += value(input[i]);
    double const tolerance = std::is_integral_v<T> ? 0 : sizeof(T) == 2 ? 0.02 * c.size() : 1e-6 * c.size();
    demand(std::abs(value(x[i]) - sum) <= tolerance, std::string("all_reduce_sum of ") + name);
  }
  auto const bytes = std::as_bytes(std::span(x));
  std::vector<std::byte> all(bytes.size() * static_cast<std::size_t>(c.size()));
  c.all_gather(bytes, all);
  for (std::size_t p = 0; p < static_cast<std::size_t>(c.size()); ++p)
    demand(bytes.empty() || std::memcmp(all.data() + p * bytes.size(), bytes.data(), bytes.size()) == 0,
           std::string("the same bits on all ranks, sum of ") + name);
}

template <class C>
void check_communicator(C& c) {
  auto const P = static_cast<std::size_t>(c.size());
  auto const r = static_cast<std::size_t>(c.rank());
  collective::room_t room;
  auto const pattern = [](std::size_t rank, std::size_t i) { return static_cast<std::byte>(rank * 31 + i * 7 + 1); };
  for (std::size_t n : {0u, 1u, 31u, 32u, 33u, 1000u}) {
    std::vector<std::byte> mine(n), all(n * P);
    for (std::size_t i = 0; i < n; ++i) mine[i] = pattern(r, i);
    c.all_gather(mine, all);
    for (std::size_t p = 0; p < P; ++p)
      for (std::size_t i = 0; i < n; ++i) demand(all[p * n + i] == pattern(p, i), "all_gather");

    std::vector<std::size_t> sizes(P);
    std::size_t total = 0;
    for (std::size_t p = 0; p < P; ++p) total += sizes[p] = (p * n) % 97;
    std::vector<std::byte> some(sizes[r]), joined(total);
    for (std::size_t i = 0; i < some.size(); ++i) some[i] = pattern(r, i);
    collective::all_gather_v(c, std::span<std::byte const>(some), sizes, std::span(joined), room);
    for (std::size_t p = 0, at = 0; p < P; at += sizes[p++])
      for (std::size_t i = 0; i < sizes[p]; ++i) demand(joined[at + i] == pattern(p, i), "all_gather_v");

    check_sums<float>(c, n, "float");
    check_sums<double>(c, n, "double");
    check_sums<std::int8_t>(c, n, "int8");
    check_sums<std::int16_t>(c, n, "int16");
    check_sums<std::int32_t>(c, n, "int32");
    check_sums<bfloat16>(c, n, "bfloat16");
    check_sums<float16>(c, n, "float16");

    auto const inputs = numbers_of_all<float>(c.size(), n);
    auto top = inputs[r];
    collective::all_reduce_max(c, std::span(top), room);
    for (std::size_t i = 0; i < n; ++i) {
      float most = -1;
      for (auto const& input : inputs) most = std::max(most, input[i]);
      demand(top[i] == most, "all_reduce_max");
    }

    std::vector<std::byte> in(n, std::byte{0});  // around the ring, then only even ranks send
    collective::send_recv(c, (c.rank() + 1) % c.size(), std::span<std::byte const>(mine),
                          (c.rank() + c.size() - 1) % c.size(), std::span(in), room);
    for (std::size_t i = 0; i < n; ++i) demand(in[i] == pattern((r + P - 1) % P, i), "send_recv around the ring");
    bool const sends = c.rank() % 2 == 0 && c.rank() + 1 < c.size(), receives = c.rank() % 2 == 1;
    std::fill(in.begin(), in.end(), std::byte{0});
    collective::send_recv(c, sends ? c.rank() + 1 : -1, std::span<std::byte const>(mine), receives ? c.rank() - 1 : -1,
                          std::span(in), room);
    for (std::size_t i = 0; i < n; ++i)
      demand(in[i] == (receives ? pattern(r - 1, i) : std::byte{0}), "send_recv with nobody");

    std::vector<std::byte> out(n * P), back(n * P);
    for (std::size_t p = 0; p < P; ++p)
      for (std::size_t i = 0; i < n; ++i) out[p * n + i] = pattern(r * 17 + p, i);
    collective::all_to_all(c, std::span<std::byte const>(out), std::span(back), room);
    for (std::size_t p = 0; p < P; ++p)
      for (std::size_t i = 0; i < n; ++i) demand(back[p * n + i] == pattern(p * 17 + r, i), "all_to_all");

    // sizes that only sender and receiver know
    auto const length = [n](std::size_t from, std::size_t to) { return (from * 7 + to * 3 + n) % (n + 1); };
    auto const next = (r + 1) % P, before = (r + P - 1) % P;
    std::vector<std::byte> around(length(before, r), std::byte{0});
    collective::send_recv_v(c, static_cast<int>(next), std::span<std::byte const>(mine).first(length(r, next)),
                            static_cast<int>(before), std::span(around), room);
    for (std::size_t i = 0; i < around.size(); ++i) demand(around[i] == pattern(before, i), "send_recv_v");
    std::fill(around.begin(), around.end(), std::byte{0});
    collective::send_recv_v(c, sends ? c.rank() + 1 : -1,
                            std::span<std::byte const>(mine).first(sends ? length(r, next) : 0),
                            receives ? c.rank() - 1 : -1, std::span(around).first(receives ? around.size() : 0), room);
    for (std::size_t i = 0; i < around.size(); ++i)
      demand(around[i] == (receives ? pattern(before, i) : std::byte{0}), "send_recv_v with nobody");

    std::vector<std::size_t> leave, arrive;
    std::vector<std::byte> blocks, got, expected;
    for (std::size_t p = 0; p < P; ++p) {
      leave.push_back(length(r, p)), arrive.push_back(length(p, r));
      for (std::size_t i = 0; i < leave[p]; ++i) blocks.push_back(pattern(r * 17 + p, i));
      for (std::size_t i = 0; i < arrive[p]; ++i) expected.push_back(pattern(p * 17 + r, i));
    }
    got.resize(expected.size());
    collective::all_to_all_v(c, std::span<std::byte const>(blocks), leave, std::span(got), arrive, room);
    demand(got == expected, "all_to_all_v");
  }
}

}  // namespace gradpress::test
