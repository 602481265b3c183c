// SPDX-License-Identifier: Apache-2.0
#include <gradpress/kernel/low_rank.hpp>

#include "../support/kernel_cases.hpp"

#include <cmath>
#include <limits>

using namespace gradpress;
using namespace gradpress::test;

namespace {

struct dims {
  std::size_t rows, cols;
};
constexpr dims all_dims[] = {{0, 0},   {0, 5},    {5, 0},     {1, 1},     {1, 31},   {1, 4097},
                             {32, 1},  {1000, 1}, {33, 33},   {7, 513},   {8, 512},  {9, 1024},
                             {17, 16}, {31, 100}, {64, 1041}, {257, 129}, {600, 47}, {16400, 3}};
constexpr std::size_t all_ranks[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 32};

/// Everything that the kernels compute from one set of inputs.
struct results {
  std::vector<float> product, sum, sum_product, transposed, outer, less, both_out, both_less, owed_sum, owed_product;
  friend bool operator==(results const& a, results const& b) {
    return same_bits(a.product, b.product) && same_bits(a.sum, b.sum) && same_bits(a.sum_product, b.sum_product) &&
           same_bits(a.transposed, b.transposed) && same_bits(a.outer, b.outer) && same_bits(a.less, b.less) &&
           same_bits(a.both_out, b.both_out) && same_bits(a.both_less, b.both_less) &&
           same_bits(a.owed_sum, b.owed_sum) && same_bits(a.owed_product, b.owed_product);
  }
};

/// n floats at an address that is a multiple of 4 bytes and no more, with a guard at both ends.
class output {
  std::vector<float> memory_;

 public:
  explicit output(std::size_t n) : memory_(n + 2, 77.f) {}
  explicit output(sample const& from, std::size_t n) : output(n) {
    for (std::size_t i = 0; i < n; ++i) get()[i] = from[i];
  }
  float* get() { return memory_.data() + 1; }
  std::vector<float> take() const {
    CHECK(memory_.front() == 77.f);
    CHECK(memory_.back() == 77.f);
    return {memory_.begin() + 1, memory_.end() - 1};
  }
};

struct inputs {
  std::size_t rows, cols, r;
  sample g, e, p, q, mean;
  inputs(dims d, std::size_t rank, data kind)
      : rows(d.rows),
        cols(d.cols),
        r(rank),
        g(kind, rows * cols, 1),
        e(kind, rows * cols, 2),
        p(kind, rows * r, 3),
        q(kind, cols * r, 4),
        mean(kind, cols * r, 5) {}
};

results run(inputs const& x) {
  Kokkos::DefaultHostExecutionSpace const exec;
  auto const n = x.rows * x.cols;
  std::vector<std::byte> room(kernel::low_rank_workspace(x.rows, x.cols, x.r) + 2, std::byte{0xff});
  auto* const work = room.data() + 1;
  output product(x.rows * x.r), sum(n), sum_product(x.rows * x.r), transposed(x.cols * x.r), outer(n), less(x.g, n),
      both_out(n), both_less(x.g, n);
  kernel::multiply(exec, x.g.get(), x.rows, x.cols, x.q.get(), x.r, work, product.get());
  CHECK(kernel::multiply_sum(exec, x.g.get(), x.e.get(), sum.get(), x.rows, x.cols, x.q.get(), x.r, work,
                             sum_product.get()));
  kernel::multiply_transposed(exec, x.g.get(), x.rows, x.cols, x.p.get(), x.r, work, transposed.get());
  kernel::outer(exec, x.p.get(), x.q.get(), x.rows, x.cols, x.r, work, outer.get());
  kernel::outer_subtract(exec, x.p.get(), x.q.get(), x.rows, x.cols, x.r, work, less.get());
  kernel::outer_and_subtract(exec, x.p.get(), x.mean.get(), x.q.get(), x.rows, x.cols, x.r, work, both_out.get(),
                             both_less.get());
  output owed_sum(n), owed_product(x.rows * x.r), settled(x.e, n), settled_sum(n), settled_product(x.rows * x.r);
  CHECK(kernel::multiply_sum_owed(exec, x.g.get(), x.e.get(), x.p.get(), x.mean.get(), owed_sum.get(), x.rows, x.cols,
                                  x.q.get(), x.r, work, owed_product.get()));
  kernel::outer_subtract(exec, x.p.get(), x.mean.get(), x.rows, x.cols, x.r, work, settled.get());
  CHECK(kernel::multiply_sum(exec, x.g.get(), settled.get(), settled_sum.get(), x.rows, x.cols, x.q.get(), x.r, work,
                             settled_product.get()));
  CHECK(same_bits(owed_sum.take(), settled_sum.take()));
  CHECK(same_bits(owed_product.take(), settled_product.take()));
  CHECK(room.back() == std::byte{0xff});
  CHECK(room.front() == std::byte{0xff});
  return {product.take(), sum.take(),      sum_product.take(), transposed.take(), outer.take(),
          less.take(),    both_out.take(), both_less.take(),   owed_sum.take(),   owed_product.take()};
}

/// |got - want| <= slack * the sum of the magnitudes that went in.
void check_near(float got, double want, double magnitude, double slack) {
  if (!(std::fabs(static_cast<double>(got) - want) <= slack * magnitude + 1e-44)) {
    CAPTURE(got);
    CAPTURE(want);
    FAIL_CHECK("too far from the product in double precision");
  }
}

/// The plain definition in double precision, for results of `run`; slack = 0 where every sum is exact.
void check_against_double(inputs const& x, results const& got, double slack) {
  auto const d = [](float v) { return static_cast<double>(v); };
  for (std::size_t j = 0; j < x.r; ++j) {
    for (std::size_t i = 0; i < x.rows; ++i) {
      double want = 0, size = 0, want_sum = 0, size_sum = 0;
      for (std::size_t c = 0; c < x.cols; ++c) {
        auto const term = d(x.g[i * x.cols + c]) * d(x.q[c * x.r + j]);
        auto const term_sum = d(x.g[i * x.cols + c] + x.e[i * x.cols + c]) * d(x.q[c * x.r + j]);
        want += term, size += std::fabs(term), want_sum += term_sum, size_sum += std::fabs(term_sum);
      }
      check_near(got.product[i * x.r + j], want, size, slack);
      check_near(got.sum_product[i * x.r + j], want_sum, size_sum, slack);
    }
    for (std::size_t c = 0; c < x.cols; ++c) {
      double want = 0, size = 0;
      for (std::size_t i = 0; i < x.rows; ++i) {
        auto const term = d(x.g[i * x.cols + c]) * d(x.p[i * x.r + j]);
        want += term, size += std::fabs(term);
      }
      check_near(got.transposed[c * x.r + j], want, size, slack);
    }
  }
  for (std::size_t i = 0; i < x.rows; ++i)
    for (std::size_t c = 0; c < x.cols; ++c) {
      double own = 0, size = 0, mean = 0, size_mean = 0;
      for (std::size_t j = 0; j < x.r; ++j) {
        auto const a = d(x.p[i * x.r + j]) * d(x.q[c * x.r + j]), b = d(x.p[i * x.r + j]) * d(x.mean[c * x.r + j]);
        own += a, size += std::fabs(a), mean += b, size_mean += std::fabs(b);
      }
      auto const at = i * x.cols + c;
      check_near(got.outer[at], own, size, slack);
      check_near(got.less[at], d(x.g[at]) - own, size + std::fabs(d(x.g[at])), slack);
      check_near(got.both_out[at], mean, size_mean, slack);
    }
}

/// What must hold to the bit, whatever the data.
void check_laws(inputs const& x, results const& got) {
  inputs summed = x;
  std::copy(got.sum.begin(), got.sum.end(), summed.g.get());
  std::vector<float> sum(got.sum.size()), less(got.sum.size());
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = x.g[i] + x.e[i], less[i] = x.g[i] - got.outer[i];
  CHECK(same_bits(got.sum, sum));
  CHECK(same_bits(got.less, less));
  CHECK(same_bits(got.both_less, less));
  summed.mean = summed.q;
  auto const again = run(summed);
  CHECK(same_bits(again.product, got.sum_product));
  CHECK(same_bits(again.both_out, got.outer));
}

}  // namespace

TEST_CASE("exact where every sum is exact, and the same on every path") {
  for (auto const d : all_dims)
    for (auto const r : all_ranks) {
      if (d.rows * d.cols * r > 300000) continue;
      CAPTURE(d.rows);
      CAPTURE(d.cols);
      CAPTURE(r);
      inputs const x(d, r, data::few_values);
      for_each_isa([&] { check_against_double(x, run(x), 0); });
    }
}

TEST_CASE("close to double precision, and the same bits on every path") {
  for (auto const kind : {data::normal, data::layers, data::denormal, data::zero, data::mostly_zero})
    for (auto const d : all_dims)
      for (auto const r : {1u, 3u, 4u, 8u, 13u}) {
        if (d.rows * d.cols * r > 300000) continue;
        CAPTURE(static_cast<int>(kind));
        CAPTURE(d.rows);
        CAPTURE(d.cols);
        CAPTURE(r);
        inputs const x(d, r, kind);
        auto const before = kernel::current_isa();
        kernel::force_isa(kernel::isa::portable);
        auto const plain = run(x);
        kernel::force_isa(before);
        check_against_double(x, plain, 1e-5);
        check_laws(x, plain);
        for_each_isa([&] { CHECK(run(x) == plain); });
      }
}

TEST_CASE("large outputs go around the caches with the same bits") {
  for (auto const d : {dims{1031, 1021}, dims{512, 2048}, dims{16, 70001}, dims{262147, 5}, dims{257, 528}})
    for (auto const r : {2u, 9u}) {
      CAPTURE(d.rows);
      CAPTURE(d.cols);
      CAPTURE(r);
      inputs const x(d, r, data::normal);
      auto const best = run(x);
      check_laws(x, best);
      auto const before = kernel::force_isa(kernel::isa::portable);
      CHECK(before == kernel::isa::portable);
      CHECK(run(x) == best);
      kernel::force_isa(kernel::detect_isa());
    }
}

TEST_CASE("the sum may replace either summand") {
  Kokkos::DefaultHostExecutionSpace const exec;
  for (std::size_t r : {4u, 8u, 9u}) {
    inputs const x({700, 1600}, r, data::normal);
    auto const n = x.rows * x.cols;
    for_each_isa([&] {
      auto const want = run(x);
      std::vector<std::byte> work(kernel::low_rank_workspace(x.rows, x.cols, x.r));
      output g(x.g, n), e(x.e, n), p(x.rows * x.r), p2(x.rows * x.r);
      CHECK(kernel::multiply_sum(exec, g.get(), x.e.get(), g.get(), x.rows, x.cols, x.q.get(), x.r, work.data(),
                                 p.get()));
      CHECK(kernel::multiply_sum(exec, x.g.get(), e.get(), e.get(), x.rows, x.cols, x.q.get(), x.r, work.data(),
                                 p2.get()));
      CHECK(same_bits(g.take(), want.sum));
      CHECK(same_bits(e.take(), want.sum));
      CHECK(same_bits(p.take(), want.sum_product));
      CHECK(same_bits(p2.take(), want.sum_product));
    });
  }
}

TEST_CASE("NaN and infinity in the sum are reported wherever they are, overflow of a product is not") {
  Kokkos::DefaultHostExecutionSpace const exec;
  auto const infinity = std::numeric_limits<float>::infinity(), most = std::numeric_limits<float>::max();
  std::size_t const rows = 13, cols = 1047, r = 3;
  std::vector<std::byte> work(kernel::low_rank_workspace(rows, cols, r));
  std::vector<float> const zero(rows * cols), q(cols * r, 0.f);
  std::vector<float> a(rows * cols), p(rows * r);
  auto const finite = [&](std::vector<float> const& g, std::vector<float> const& e, std::vector<float> const& factor) {
    return kernel::multiply_sum(exec, g.data(), e.data(), a.data(), rows, cols, factor.data(), r, work.data(),
                                p.data());
  };
  for_each_isa([&] {
    CHECK(finite(zero, zero, q));
    for (std::size_t at : {0u, 511u, 1040u, 1046u, 5u * 1047u + 7u, 13u * 1047u - 1u})
      for (float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
        CAPTURE(at);
        auto g = zero;
        g[at] = bad;
        CHECK_FALSE(finite(g, zero, q));
        CHECK_FALSE(finite(zero, g, q));
      }
    auto g = zero;
    g[3000] = most;
    CHECK(finite(g, zero, q));
    CHECK_FALSE(finite(g, g, q));
    CHECK(finite(g, zero, std::vector<float>(cols * r, 10.f)));
    CHECK_FALSE(std::isfinite(p[3000 / cols * r]));
  });
}
