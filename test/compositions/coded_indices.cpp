// SPDX-License-Identifier: Apache-2.0
// Every selector that sends indices x every index code x every value code x memory x exchange that takes coded indices.
// Policies are chosen at run time, so that few compositions are compiled; index codes share a reducer, a tensor of each
// size for each, so that few worlds are started.
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/leader_top_k.hpp>

#include "../support/any_policies.hpp"
#include "../support/composition_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {
std::vector<any_index> const index_codes = {
    {raw_index{}}, {local_index{}}, {bitmap_index{}}, {elias_fano{}}, {smallest_index{}}};
std::vector<any_code> const value_codes = {
    {unquantized{}},   {bf16{}},         {fp16{}}, {sign{.block = 32}}, {stochastic_int{.bits = 8, .block = 64}},
    {log_quantizer{}}, {one_magnitude{}}};
std::vector<any_fixed> const fixed_selectors = {
    {top_k{.density = 0.05}}, {chunked_top_k{.density = 0.1, .chunk = 64}}, {own_random_k{.density = 0.05}}};
std::vector<any_variable> const variable_selectors = {{threshold{.tau = 0.3}},
                                                      {gaussian_k{.density = 0.1}},
                                                      {sampled_top_k{.density = 0.1}},
                                                      {sidco{.density = 0.1}},
                                                      {adacomp{.bin = 50}},
                                                      {atomo{.density = 0.1}},
                                                      {unbiased_sparsifier{.variance = 1}},
                                                      {unbiased_density{.density = 0.1}}};

/// Tensors of every size, once for each index code; the one that is poisoned is a 33 of the second.
std::vector<case_tensor> tensors_by_code() {
  std::vector<case_tensor> all;
  for (std::size_t code = 0; code < index_codes.size(); ++code)
    for (auto const& t : case_tensors())
      if (t.dims.size() != 1000)
        all.push_back({t.name + " by " + name_of(index_codes[code].one), t.dims, t.data, code});
  return all;
}

template <class S, class Q, class F, class X>
void check_all_codes(S const& s, Q const& q, F const& f, X const& x, std::string const& what, tally& count) {
  auto const with = [=](std::size_t code) { return compress_with(s, q, f, x, index_codes[code]); };
  auto d = describe_composition(with(0));
  d.text = what + ", " + d.text;
  d.tensors = tensors_by_code();
  d.steps = 2;
  d.poisoned = 1;
  d.poisoned_tensor = 10;
  d.add = [=](composition::reducer_type& r, case_tensor const& t) {
    return r.add(t.name, t.dims.rows, t.dims.cols, with(t.variant));
  };
  d.bytes = [=, all = d.tensors](int, int rank) {
    std::uint64_t body = 0, down = 0;
    for (auto const& t : all) {
      auto const n = t.dims.size(), k = s.max_kept(n);
      body += index_codes[t.variant].index_bytes(n, k) + pad4(q.code_bytes(k));
      down += 4 * n;
    }
    std::uint64_t const agreed = agreeing<Q> ? 4 * all.size() : 0;
    if constexpr (requires { x.root; })
      return agreed + 32 + (rank == x.root ? down : body);
    else
      return agreed + 32 + body;
  };
  for (int P = 1; P <= 9; ++P) check_composition(d, P);
  count.legal += static_cast<int>(index_codes.size());
}
/// By both exchanges that take what neither adds up nor may be merged, with every memory.
template <class S, class Q>
void check_meetings(S const& s, Q const& q, std::string const& what, tally& count) {
  using kind = std::integral_constant<message_kind, kind_of<identity, S, Q, any_index>>;
  static_assert(!gtop_k::accepts(kind::value) && !gather_top_k::accepts(kind::value) &&
                !ok_top_k::accepts(kind::value));
  static_assert(!recursive_doubling::accepts(kind::value) && !split_all_gather::accepts(kind::value));
  static_assert(!split_dense<>::accepts(kind::value) && !scatter_reduce::accepts(kind::value));
  auto const check = [&](auto const& f) {
    check_all_codes(s, q, f, all_gather{}, what, count);
    check_all_codes(s, q, f, parameter_server{}, what, count);
    if constexpr (all_reduce::accepts(kind::value)) check_all_codes(s, q, f, all_reduce{}, what, count);
  };
  check(no_feedback{});
  check(error_feedback{});
  check(ef21{});
}
template <class S>
void check_values(S const& s, std::string const& what, tally& count) {
  for (auto const& q : value_codes) check_meetings(s, q, what + ", " + name_of(q.one), count);
  check_meetings(s, ternary{}, what + ", ternary", count);
}
}  // namespace

TEST_CASE("every index code with every selector of fixed size, value code, memory and exchange") {
  tally count;
  for (auto const& s : fixed_selectors) check_values(s, name_of(s.one), count);
  MESSAGE("compositions: ", count.legal);
  CHECK(count.legal == 3 * 5 * 8 * 3 * 2);
}
TEST_CASE("every index code with every selector of variable size, value code, memory and exchange") {
  tally count;
  for (auto const& s : variable_selectors) check_values(s, name_of(s.one), count);
  MESSAGE("compositions: ", count.legal);
  CHECK(count.legal == 8 * 5 * 8 * 3 * 2);
}
TEST_CASE("every index code with a leader that sends the support, every value code, memory and exchange") {
  tally count;
  leader_top_k const s{.density = 0.1};
  check_values(s, describe(s), count);
  check_meetings(s, unquantized{}, describe(s) + ", sums of floats", count);
  MESSAGE("compositions: ", count.legal);
  CHECK(count.legal == 5 * (7 * 2 + 3 + 3) * 3);
}
