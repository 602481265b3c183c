// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/sparse.hpp>

#include "../support/kernel_cases.hpp"

#include <limits>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using host = Kokkos::DefaultHostExecutionSpace;

struct sparse_vector {
  std::vector<index_t> indices;
  std::vector<float> values;
  kernel::stream get() const { return {indices.data(), values.data(), indices.size()}; }
};
sparse_vector random_sparse(std::size_t n, double density, unsigned seed) {
  std::mt19937 random(seed);
  std::bernoulli_distribution keep(density);
  std::normal_distribution<float> value;
  sparse_vector v;
  for (std::size_t i = 0; i < n; ++i)
    if (keep(random)) v.indices.push_back(static_cast<index_t>(i)), v.values.push_back(value(random));
  return v;
}
std::vector<float> plain_mean(std::vector<sparse_vector> const& vectors, float divisor, std::size_t n) {
  std::vector<float> out(n);
  for (auto const& v : vectors)
    for (std::size_t i = 0; i < v.indices.size(); ++i) out[v.indices[i]] += v.values[i];
  for (auto& x : out) x /= divisor;
  return out;
}
/// At an address that is a multiple of 4 bytes and no more, with guards.
std::vector<float> scattered(std::vector<sparse_vector> const& vectors, float divisor, std::size_t n) {
  std::vector<kernel::stream> streams;
  for (auto const& v : vectors) streams.push_back(v.get());
  std::vector<float> out(n + 2, 55.0f);
  kernel::scatter_mean(host{}, streams.data(), streams.size(), divisor, out.data() + 1, n);
  CHECK(out.front() == 55.0f);
  CHECK(out.back() == 55.0f);
  return {out.begin() + 1, out.end() - 1};
}

}  // namespace

TEST_CASE("the mean of sparse vectors, bit for bit") {
  for (std::size_t n : {0u, 1u, 31u, 32u, 33u, 1000u, 4097u, 100003u})
    for (std::size_t count : {0u, 1u, 2u, 3u, 17u})
      for (double density : {0.0, 0.01, 1.0})
        for (float divisor : {1.0f, 2.0f, 3.0f, 17.0f, 64.0f}) {
          std::vector<sparse_vector> v;
          for (std::size_t s = 0; s < count; ++s) v.push_back(random_sparse(n, density, static_cast<unsigned>(s)));
          CHECK(same_bits(scattered(v, divisor, n), plain_mean(v, divisor, n)));
        }
}

TEST_CASE("more streams than places are kept for") {
  std::size_t const n = 20011;
  std::vector<sparse_vector> v;
  for (unsigned s = 0; s < 150; ++s) v.push_back(random_sparse(n, 0.02, s));
  CHECK(same_bits(scattered(v, 150.0f, n), plain_mean(v, 150.0f, n)));
}

TEST_CASE("outputs that are streamed have the same bits") {
  std::size_t const n = kernel::detail::streaming_from + 4099;
  std::vector<sparse_vector> const v{random_sparse(n, 0.01, 1), random_sparse(n, 0.01, 2), {}};
  for (float divisor : {1.0f, 3.0f, 4.0f}) CHECK(same_bits(scattered(v, divisor, n), plain_mean(v, divisor, n)));
}

TEST_CASE("the order of summation is the order of the streams") {
  std::vector<sparse_vector> const v{{{5}, {1e8f}}, {{5}, {1.0f}}, {{5}, {-1e8f}}};
  CHECK(scattered(v, 1.0f, 9)[5] == (1e8f + 1.0f) - 1e8f);
  CHECK(scattered({v[0], v[2], v[1]}, 1.0f, 9)[5] == 1.0f);
}

TEST_CASE("denormals, overflow and NaN pass through, and divisors beyond the ordinary divide") {
  constexpr auto infinity = std::numeric_limits<float>::infinity();
  std::vector<sparse_vector> const v{{{0, 1, 2, 3}, {3e-45f, 3e38f, infinity, std::numeric_limits<float>::quiet_NaN()}},
                                     {{0, 1, 2, 7}, {3e-45f, 3e38f, -infinity, -0.0f}}};
  for (float divisor : {1.0f, 2.0f, 4.0f, 3.0f, 0x1p127f, 0x1p-126f, 1e-40f, 0x1p-149f}) {
    auto const out = scattered(v, divisor, 8);
    CHECK(out[0] == (3e-45f + 3e-45f) / divisor);
    CHECK(out[1] == infinity);
    CHECK(out[2] != out[2]);
    CHECK(out[3] != out[3]);
    CHECK(bits(out[7]) == 0);
  }
}

TEST_CASE("a shared support scatters like one stream") {
  std::size_t const n = 5000;
  auto const v = random_sparse(n, 0.1, 3);
  std::vector<float> out(n, 55.0f);
  kernel::scatter_shared_mean(host{}, v.indices.data(), v.values.data(), v.indices.size(), 3.0f, out.data(), n);
  CHECK(same_bits(out, plain_mean({v}, 3.0f, n)));
}

TEST_CASE("gather and subtract at indices") {
  for (std::size_t n : {0u, 1u, 33u, 4097u, 100003u}) {
    sample const x(data::normal, n);
    auto const v = random_sparse(n, 0.4, 9);
    auto const k = v.indices.size();
    std::vector<float> values(k + 1, 55.0f);
    kernel::gather(host{}, x.get(), v.indices.data(), k, values.data());
    for (std::size_t i = 0; i < k; ++i) REQUIRE(bits(values[i]) == bits(x[v.indices[i]]));
    CHECK(values[k] == 55.0f);

    sample changed(data::normal, n);
    kernel::subtract_at(host{}, changed.get(), v.indices.data(), v.values.data(), k);
    std::vector<float> expected(x.get(), x.get() + n);
    for (std::size_t i = 0; i < k; ++i) expected[v.indices[i]] -= v.values[i];
    CHECK(std::equal(expected.begin(), expected.end(), changed.get()));
    kernel::subtract_at(host{}, changed.get(), v.indices.data(), v.values.data(), 0);
    CHECK(std::equal(expected.begin(), expected.end(), changed.get()));
  }
}

TEST_CASE("indices are valid if they ascend, are distinct and lie inside, and only then") {
  CHECK(kernel::valid_indices(nullptr, 0, 0));
  for (std::size_t k : {1u, 2u, 16u, 17u, 18u, 33u, 1000u}) {
    std::vector<index_t> at(k);
    for (std::size_t i = 0; i < k; ++i) at[i] = static_cast<index_t>(3 * i);
    CHECK(kernel::valid_indices(at.data(), k, 3 * k));
    CHECK(kernel::valid_indices(at.data(), k, at.back() + 1));
    CHECK_FALSE(kernel::valid_indices(at.data(), k, at.back()));
    CHECK_FALSE(kernel::valid_indices(at.data(), k, 0));
    for (std::size_t i = 0; i + 1 < k; ++i) {
      auto equal = at, swapped = at;
      equal[i] = equal[i + 1];
      std::swap(swapped[i], swapped[i + 1]);
      CHECK_FALSE(kernel::valid_indices(equal.data(), k, 3 * k));
      CHECK_FALSE(kernel::valid_indices(swapped.data(), k, 3 * k));
    }
  }
  index_t const edge[] = {0, 0x7fffffffu, 0x80000000u, 0xffffffffu};
  CHECK(kernel::valid_indices(edge, 4, std::size_t{1} << 32));
  CHECK_FALSE(kernel::valid_indices(edge, 4, 0xffffffffu));
}
