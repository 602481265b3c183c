// SPDX-License-Identifier: Apache-2.0

/// \file
/// How traffic grows with the number of ranks: bytes that the busiest rank receives in a step, counted for P = 2 to 16
/// between threads, beside the formulas of the exchanges' pages. Checks those that are exact.
///
///     ./dev bench growth [--svg FILE]     the table, and the chart docs/exchange/growth.svg

#include "../examples/support/line_chart.hpp"
#include "../examples/support/table.hpp"
#include "../test/support/traffic.hpp"

#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/exchange/split_all_gather.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/select/top_k.hpp>

#include <Kokkos_Core.hpp>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>

namespace {

namespace gp = gradpress;
using floats = std::vector<float>;

constexpr std::size_t n = std::size_t{1} << 18, k = 2048;
constexpr int most_ranks = 16, settling = 2, counted = 10;
constexpr double message = 8. * k;  // bytes of one rank's entries

/// Heavy-tailed, of both signs.
floats draw(std::uint64_t seed) {
  floats x(n);
  for (std::size_t i = 0; i < n; ++i) {
    auto const u = 2 * gp::key{seed}.uniform(i) - 1;
    x[i] = u / (1.001f - std::abs(u));
  }
  return x;
}

/// How much of the ranks' gradients is the same for all of them.
enum class likeness { same, half, none };

/// gradient(rank, step), drawn once and used for every exchange.
class gradients {
  std::vector<floats> own_, shared_;

 public:
  gradients() {
    for (int s = 0; s < settling + counted; ++s) {
      shared_.push_back(draw(static_cast<std::uint64_t>(s) + 1));
      for (int r = 0; r < most_ranks; ++r) own_.push_back(draw(static_cast<std::uint64_t>(1000 + 100 * s + r)));
    }
  }
  [[nodiscard]] floats operator()(likeness of, int rank, int step) const {
    auto const& shared = shared_[static_cast<std::size_t>(step)];
    if (of == likeness::same) return shared;
    auto x = own_[static_cast<std::size_t>(step * most_ranks + rank)];
    if (of == likeness::half)
      for (std::size_t i = 0; i < n; ++i) x[i] += shared[i];
    return x;
  }
};

template <class X>
gp::test::traffic measure(gradients const& g, likeness like, int P, X exchange) {
  auto const method = gp::compress_with(gp::top_k{.density = double{k} / n}, gp::error_feedback{}, exchange);
  return gp::test::traffic_of(
      P, n, method, settling + counted, [&](int rank, int step) { return g(like, rank, step); }, counted);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 1 && (argc != 3 || std::strcmp(argv[1], "--svg") != 0)) {
    std::fputs("usage: bench.growth [--svg FILE]\n", stderr);
    return 2;
  }
  Kokkos::ScopeGuard const kokkos(argc, argv);
  gradients const g;
  svg::line_chart chart;
  chart.title = "What one rank receives in a step";
  chart.subtitle =
      "top-k, n = 262 144, k = 2048; counted at the busiest rank, mean of 10 steps; formulas: P - 1, log2 P, 3";
  chart.x_title = "ranks";
  chart.y_title = "received, in messages of k entries (16 kB)";
  chart.pens = {svg::okabe_ito(0, "all_gather"),       svg::okabe_ito(1, "recursive_doubling"),
                svg::okabe_ito(3, "split_all_gather"), svg::okabe_ito(2, "gtop_k"),
                svg::okabe_ito(4, "ok_top_k"),         {"formulas", "#8c959f", "#6e7681", "2 3"}};
  chart.y_low = 0;
  bool right = true;
  for (auto const& [like, name] :
       {std::pair{likeness::same, "all gradients are the same"}, std::pair{likeness::half, "half of each is common"},
        std::pair{likeness::none, "nothing in common"}}) {
    report::table table({"P", "all_gather", "recursive\ndoubling", "split\nall_gather", "gtop_k", "ok_top_k",
                         "ok_top_k\nmean of ranks", "messages"});
    svg::panel panel{name, {{0, {}}, {1, {}}, {2, {}}, {3, {}}, {4, {}}, {5, {}}, {5, {}}, {5, {}}}};
    for (int P = 2; P <= most_ranks; ++P) {
      gp::test::traffic const of[] = {measure(g, like, P, gp::all_gather{}),
                                      measure(g, like, P, gp::recursive_doubling{}),
                                      measure(g, like, P, gp::split_all_gather{}), measure(g, like, P, gp::gtop_k{}),
                                      measure(g, like, P, gp::ok_top_k{})};
      auto const others = static_cast<std::uint64_t>(P - 1);
      auto const hops = static_cast<std::uint64_t>(std::ceil(std::log2(P)));
      right = right && of[0].received == others * (32 + 8 * k) && of[3].received == hops * (32 + 8 * k);
      std::vector<std::string> row{std::to_string(P)};
      std::string messages;
      for (std::size_t i = 0; i < std::size(of); ++i) {
        row.push_back(std::to_string(of[i].received));
        messages += (i == 0 ? "" : " ") + std::to_string(of[i].messages);
        panel.curves[i].points.emplace_back(P, static_cast<double>(of[i].received) / message);
      }
      row.push_back(report::fixed(of[4].mean_received, 0));
      row.push_back(messages);
      table.add(std::move(row));
      panel.curves[5].points.emplace_back(P, others);
      panel.curves[6].points.emplace_back(P, hops);
      panel.curves[7].points.emplace_back(P, 3);
    }
    std::cout << "Bytes received in a step by the busiest rank; " << name
              << ". messages: collectives called, in order\n";
    table.print(std::cout);
    std::cout << '\n';
    chart.panels.push_back(std::move(panel));
  }
  if (argc == 3) {
    chart.write(argv[2]);
    std::cout << "Wrote " << argv[2] << '\n';
  }
  std::cout << (right ? "all_gather and gtop_k receive what their pages say, to the byte\n"
                      : "WRONG: all_gather or gtop_k receives something else than its page says\n");
  return right ? 0 : 1;
} catch (std::exception const& e) {
  std::fprintf(stderr, "growth: %s\n", e.what());
  return 1;
}
