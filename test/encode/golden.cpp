// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/message.hpp>

// The bytes that leave a rank, and those of a checkpoint, held fixed: test/golden/wire.hpp says what they were when the
// wire got its version.
//
// A failure here means that two builds of this library no longer understand each other. The golden strings are replaced
// only if that is meant: together with letter_header::expected_version (or the checkpoint's version), and with the
// reason in docs/wire.md and the changelog. Never to make this test pass. To print the new ones:
//
//     GRADPRESS_PRINT_GOLDEN=1 test.encode.golden
//
// A new case may be added at any time; it changes no byte of the others.

#include <gradpress/communicate/recording.hpp>
#include <gradpress/communicate/self.hpp>
#include <gradpress/communicate/threads.hpp>
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/exchange/gather_top_k.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/exchange/majority_vote.hpp>
#include <gradpress/exchange/ok_top_k.hpp>
#include <gradpress/exchange/parameter_server.hpp>
#include <gradpress/exchange/recursive_doubling.hpp>
#include <gradpress/exchange/two_sided.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/reducer.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/atomo.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/reused_top_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../golden/wire.hpp"
#include "../support/kernel_cases.hpp"
#include "../support/lone_rank.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <sstream>
#include <string>

using namespace gradpress;
using test::floats;

namespace {

std::string hex(std::span<std::byte const> bytes) {
  std::string text;
  for (auto const b : bytes) {
    text += "0123456789abcdef"[static_cast<unsigned>(b) >> 4];
    text += "0123456789abcdef"[static_cast<unsigned>(b) & 15u];
  }
  return text;
}
std::string hex(std::string const& bytes) { return hex(std::as_bytes(std::span(bytes))); }
std::vector<std::byte> from_hex(std::string const& text) {
  std::vector<std::byte> all;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    all.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
  return all;
}

/// Multiples of 1/8 of both signs, zeros of both signs among them, and one value that no short format holds.
floats tiny(std::size_t n) {
  floats x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(static_cast<int>((i * 37 + 5) % 29) - 14) / 8.f;
  if (n > 4) x[2] = -0.f, x[4] = 1.f / 3;
  return x;
}

/// Everything that was handed to the communicator between agreement and vote, call by call.
template <class C>
std::string sent_in(recording<C> const& comm) {
  std::string text;
  auto const& log = comm.log();
  for (std::size_t i = 1; i + 1 < log.size(); ++i) {
    if (log[i].sent.empty()) continue;
    text += (text.empty() ? "" : " ") + hex(log[i].sent);
  }
  return text;
}
/// The second step of one rank alone, so that the step number is not 0.
template <class Method>
std::string sent_by(Method const& method, shape d) {
  recording comm{self_communicator{}};
  reducer r{test::host{}, comm, {.seed = 0x5eed}};
  auto const w = r.add("w", d.rows, d.cols, method);
  for (int s = 0; s < 2; ++s) {
    auto g = tiny(d.size());
    comm.clear();
    r.average(w, std::span(g));
  }
  return sent_in(comm);
}

constexpr shape vector{13, 1}, two_blocks{70, 1}, matrix{5, 4};
constexpr threshold above{.tau = 1.5};
constexpr top_k some{.density = 0.25};
constexpr random_k drawn{.density = 0.25};
constexpr random_block run{.density = 0.25};
constexpr error_feedback memory;
constexpr sign sign32{.block = 32};
constexpr log_quantizer log8{.bits = 8}, log4{.bits = 4};
constexpr stochastic_int ints(int bits, rounding mode = rounding::stochastic) {
  return {.bits = bits, .block = 64, .mode = mode};
}

std::string two_tensors_of_variable_size() {
  recording comm{self_communicator{}};
  reducer r{test::host{}, comm};
  auto const b = r.add("b", 6, 1, compress_with(threshold{.tau = 1})),
             a = r.add("a", 4, 1, compress_with(threshold{.tau = 1}));
  auto x = tiny(6), y = tiny(4);
  r.stage(b, std::span(x)), r.stage(a, std::span(y));
  r.average();
  return sent_in(comm);
}
/// What the leaf of a tree of two sends up, and the root down.
std::string tree_of_two() {
  std::string texts[2];
  run_ranks(2, [&](thread_communicator& c) {
    recording<thread_communicator&> comm{c};
    reducer r{gradpress::serial{}, comm};
    auto const w = r.add("w", 13, 1, compress_with(some, memory, gtop_k{}));
    auto g = tiny(13);
    if (c.rank() == 1) std::reverse(g.begin(), g.end());
    r.average(w, std::span(g));
    texts[c.rank()] = sent_in(comm);
  });
  return texts[1] + ' ' + texts[0];
}
/// What the first rank of two sends in a step of a sum of sparse messages: the size, and the letter.
std::string pair_of_sums(double density) {
  std::string texts[2];
  run_ranks(2, [&](thread_communicator& c) {
    recording<thread_communicator&> comm{c};
    reducer r{gradpress::serial{}, comm};
    auto const w = r.add("w", 13, 1, compress_with(top_k{.density = density}, memory, recursive_doubling{}));
    auto g = tiny(13);
    if (c.rank() == 1) std::reverse(g.begin(), g.end());
    r.average(w, std::span(g));
    texts[c.rank()] = sent_in(comm);
  });
  return texts[0];
}
/// What the second rank of two sends in a step, and then the first.
template <class Method>
std::string pair_of_ranks(Method const& method) {
  std::string texts[2];
  run_ranks(2, [&](thread_communicator& c) {
    recording<thread_communicator&> comm{c};
    reducer r{gradpress::serial{}, comm};
    auto const w = r.add("w", 40, 1, method);
    auto g = tiny(40);
    if (c.rank() == 1) std::reverse(g.begin(), g.end());
    r.average(w, std::span(g));
    texts[c.rank()] = sent_in(comm);
  });
  return texts[1] + ' ' + texts[0];
}
/// What three ranks send in two steps of ok_top_k, one rank after the other: regions are agreed on and all pass, then the
/// threshold is reused, and all of what passes lies in one region.
template <class S>
std::string three_of_ok_top_k(S const& selector) {
  std::string texts[3];
  run_ranks(3, [&](thread_communicator& c) {
    recording<thread_communicator&> comm{c};
    reducer r{gradpress::serial{}, comm};
    auto const w = r.add("w", 24, 1, compress_with(selector, memory, ok_top_k{}));
    auto& text = texts[c.rank()];
    for (int s = 0; s < 2; ++s) {
      auto g = tiny(24);
      std::rotate(g.begin(), g.begin() + 7 * c.rank(), g.end());
      for (std::size_t i = 0; i < 5 && s == 1; ++i) g[i] = 8.f + static_cast<float>(i);
      comm.clear();
      r.average(w, std::span(g));
      text += (s == 0 ? "" : " ") + sent_in(comm);
    }
  });
  return texts[0] + ' ' + texts[1] + ' ' + texts[2];
}
/// The sums of two sparse messages, one that stays sparse and one that does not, and of their parts.
std::string sums() {
  index_t const at[] = {1, 4, 20}, other[] = {4, 31};
  float const x[] = {0.5f, -2.f, 3.f}, y[] = {1.5f, -0.f};
  std::string text;
  for (std::size_t const length : {32u, 6u}) {
    alignas(4) std::byte a[64], b[64], sum[64];
    auto const first = sum_stream::write({at, x, length == 32 ? 3u : 2u}, 0, length, a);
    auto const second = sum_stream::write({other, y, length == 32 ? 2u : 1u}, 0, length, b);
    auto const size =
        sum_stream::write_sum(sum_stream::read(a, first, length), sum_stream::read(b, second, length), sum);
    for (auto const part : {std::span(a).first(first), std::span(b).first(second), std::span(sum).first(size)})
      text += (text.empty() ? "" : " ") + hex(part);
  }
  alignas(4) std::byte part[64];
  return text + ' ' + hex(std::span(part).first(sum_stream::write({at, x, 3}, 3, 20, part)));
}
std::string agreement_and_vote() {
  recording comm{self_communicator{}};
  reducer r{test::host{}, comm, {.seed = 0x5eed}};
  auto const w = r.add("w", 3, 2, compress_with(some, memory));
  r.add("unstaged", 3);
  auto g = tiny(6);
  r.average(w, std::span(g));
  return hex(comm.log().front().sent) + ' ' + hex(comm.log().back().sent);
}
std::string checksums() {
  std::string text;
  std::vector<std::byte> pattern(100);
  for (std::size_t i = 0; i < pattern.size(); ++i) pattern[i] = static_cast<std::byte>(i * 7 + 3);
  for (std::size_t const n : {0u, 1u, 7u, 8u, 31u, 32u, 33u, 64u, 100u}) {
    auto const sum = checksum(std::span(pattern).first(n));
    text += (text.empty() ? "" : " ") + hex(std::as_bytes(std::span(&sum, 1)));
  }
  return text;
}
auto make_saver(self_communicator& alone) { return reducer<test::host>{test::host{}, alone, {.seed = 0x5eed}}; }
auto add_saved(reducer<test::host>& r) {
  return std::pair{r.add("top", 6, 1, compress_with(some, memory)),
                   r.add("low", 3, 2, compress_with(low_rank{.rank = 1}, memory))};
}
std::string saved() {
  self_communicator alone;
  auto r = make_saver(alone);
  auto const [top, low] = add_saved(r);
  auto x = tiny(6), y = tiny(6);
  r.stage(top, std::span(x)), r.stage(low, std::span(y));
  r.average();
  std::ostringstream file;
  r.save(file);
  return hex(file.str());
}

struct golden_case {
  char const* name;
  std::function<std::string()> bytes;
};
std::vector<golden_case> const& cases() {
  static std::vector<golden_case> const all = {
      {"all none", [] { return sent_by(compress_with(), vector); }},
      {"all none, gathered", [] { return sent_by(compress_with(all_gather{}), vector); }},
      {"all bf16", [] { return sent_by(compress_with(bf16{}), vector); }},
      {"all fp16", [] { return sent_by(compress_with(fp16{}), vector); }},
      {"all sign, two blocks and a tail", [] { return sent_by(compress_with(sign{.block = 64}), two_blocks); }},
      {"all int 8", [] { return sent_by(compress_with(ints(8)), vector); }},
      {"all int 4", [] { return sent_by(compress_with(ints(4)), vector); }},
      {"all int 2, two blocks", [] { return sent_by(compress_with(ints(2)), two_blocks); }},
      {"all int 4, nearest", [] { return sent_by(compress_with(ints(4, rounding::nearest)), vector); }},
      {"all log 8", [] { return sent_by(compress_with(log8), vector); }},
      {"all log 4", [] { return sent_by(compress_with(log4), vector); }},
      {"all ternary", [] { return sent_by(compress_with(ternary{}), vector); }},
      {"all ternary8", [] { return sent_by(compress_with(ternary8{}), vector); }},
      {"all bf16, in chunks", [] { return sent_by(compress_with(bf16{}, memory), vector); }},
      {"all sign, in chunks", [] { return sent_by(compress_with(sign32, memory, scatter_reduce{}), vector); }},
      {"all int 4, in chunks", [] { return sent_by(compress_with(ints(4), memory, scatter_reduce{}), vector); }},
      {"top_k none", [] { return sent_by(compress_with(some), vector); }},
      {"top_k none, error feedback", [] { return sent_by(compress_with(some, memory), vector); }},
      {"top_k bf16", [] { return sent_by(compress_with(some, bf16{}), vector); }},
      {"top_k fp16", [] { return sent_by(compress_with(some, fp16{}), vector); }},
      {"top_k sign", [] { return sent_by(compress_with(some, sign32), vector); }},
      {"top_k int 8", [] { return sent_by(compress_with(some, ints(8)), vector); }},
      {"top_k int 2", [] { return sent_by(compress_with(some, ints(2)), vector); }},
      {"top_k log 4", [] { return sent_by(compress_with(some, log4), vector); }},
      {"top_k ternary", [] { return sent_by(compress_with(some, ternary{}), vector); }},
      {"threshold none", [] { return sent_by(compress_with(above), vector); }},
      {"threshold none, nothing kept", [] { return sent_by(compress_with(threshold{.tau = 99}), vector); }},
      {"threshold bf16", [] { return sent_by(compress_with(above, bf16{}), vector); }},
      {"threshold fp16", [] { return sent_by(compress_with(above, fp16{}), vector); }},
      {"threshold sign", [] { return sent_by(compress_with(above, sign32), vector); }},
      {"threshold int 4", [] { return sent_by(compress_with(above, ints(4)), vector); }},
      {"threshold log 8", [] { return sent_by(compress_with(above, log8), vector); }},
      {"threshold ternary8", [] { return sent_by(compress_with(above, ternary8{}), vector); }},
      {"threshold, two tensors", two_tensors_of_variable_size},
      {"random_k none", [] { return sent_by(compress_with(drawn), vector); }},
      {"random_k bf16", [] { return sent_by(compress_with(drawn, bf16{}), vector); }},
      {"random_k int 4", [] { return sent_by(compress_with(drawn, ints(4)), vector); }},
      {"random_k sign", [] { return sent_by(compress_with(drawn, sign32), vector); }},
      {"random_k log 8", [] { return sent_by(compress_with(drawn, log8), vector); }},
      {"random_k ternary8", [] { return sent_by(compress_with(drawn, ternary8{}), vector); }},
      {"random_block none", [] { return sent_by(compress_with(run), vector); }},
      {"random_block fp16", [] { return sent_by(compress_with(run, fp16{}), vector); }},
      {"random_block int 8", [] { return sent_by(compress_with(run, ints(8)), vector); }},
      {"random_block sign", [] { return sent_by(compress_with(run, sign32), vector); }},
      {"random_block log 4", [] { return sent_by(compress_with(run, log4), vector); }},
      {"random_block ternary", [] { return sent_by(compress_with(run, ternary{}), vector); }},
      {"low_rank none", [] { return sent_by(compress_with(low_rank{.rank = 2}), matrix); }},
      {"low_rank log 8", [] { return sent_by(compress_with(low_rank{.rank = 1}, log8), matrix); }},
      {"gtop_k, two ranks", tree_of_two},
      {"top_k none, gather_top_k", [] { return sent_by(compress_with(some, memory, gather_top_k{}), vector); }},
      {"agreement and vote", agreement_and_vote},
      {"checksums", checksums},
      {"checkpoint", saved},
      {"top_k none, local_index", [] { return sent_by(compress_with(some, local_index{}), vector); }},
      {"top_k none, bitmap_index", [] { return sent_by(compress_with(some, bitmap_index{}), vector); }},
      {"top_k none, elias_fano", [] { return sent_by(compress_with(some, elias_fano{}), vector); }},
      {"threshold int 4, smallest_index",
       [] { return sent_by(compress_with(above, ints(4), smallest_index{}), vector); }},
      {"all one_magnitude", [] { return sent_by(compress_with(one_magnitude{}), two_blocks); }},
      {"adacomp one_magnitude", [] { return sent_by(compress_with(adacomp{.bin = 4}, memory), vector); }},
      {"own_random_k none", [] { return sent_by(compress_with(own_random_k{.density = 0.25}), vector); }},
      {"atomo none", [] { return sent_by(compress_with(atomo{.density = 0.25}), vector); }},
      {"sums of sparse messages", sums},
      {"recursive_doubling, two ranks, sparse", [] { return pair_of_sums(0.25); }},
      {"recursive_doubling, two ranks, dense", [] { return pair_of_sums(0.6); }},
      {"all sign_bits", [] { return sent_by(compress_with(sign_bits{}), two_blocks); }},
      {"two_sided, two ranks",
       [] {
         return pair_of_ranks(compress_with(sign32, memory, two_sided{bf16{}, memory}));
       }},
      {"parameter_server, two ranks, fixed size",
       [] {
         return pair_of_ranks(compress_with(parameter_server{sign32, memory, 1}));
       }},
      {"parameter_server, two ranks, variable size",
       [] {
         return pair_of_ranks(compress_with(above, memory, parameter_server{sign32, memory, 0}));
       }},
      {"majority_vote, two ranks", [] { return pair_of_ranks(compress_with(sign_bits{}, majority_vote{})); }},
      {"majority_vote, two ranks, ties are told",
       [] { return pair_of_ranks(compress_with(sign_bits{}, majority_vote{tie::zero})); }},
      {"majority_vote, two ranks, ties by coins",
       [] { return pair_of_ranks(compress_with(sign_bits{}, majority_vote{tie::random})); }},
      {"ok_top_k, three ranks, two steps", [] { return three_of_ok_top_k(top_k{.density = 0.125}); }},
  };
  return all;
}

/// test/golden/wire.hpp as it would be now.
void print_golden() {
  for (auto const& c : cases()) {
    std::printf("    {\"%s\"", c.name);
    auto const text = c.bytes();
    for (std::size_t at = 0; at < std::max<std::size_t>(1, text.size()); at += 108)
      std::printf("%s\n     \"%s\"", at == 0 ? "," : "", text.substr(at, 108).c_str());
    std::printf("},\n");
  }
}
bool printing() { return std::getenv("GRADPRESS_PRINT_GOLDEN") != nullptr; }
}  // namespace

TEST_CASE("encode::golden: every byte on the wire is what it was, with every instruction set") {
  if (printing()) return print_golden();
  REQUIRE(cases().size() == std::size(golden::wire));
  test::for_each_isa([] {
    for (std::size_t i = 0; i < cases().size(); ++i) {
      REQUIRE(std::string(cases()[i].name) == golden::wire[i].name);
      INFO(std::string(golden::wire[i].name));
      CHECK(cases()[i].bytes() == golden::wire[i].hex);
    }
  });
}

TEST_CASE("encode::golden: ok_top_k sends the same whether a selector's size is fixed or varies") {
  CHECK(three_of_ok_top_k(reused_top_k{.density = 0.125}) == three_of_ok_top_k(top_k{.density = 0.125}));
}

TEST_CASE("encode::golden: the versions are those that the golden strings were made with") {
  static_assert(letter_header::expected_version == golden::wire_version);
  static_assert(checkpoint::detail::version == golden::checkpoint_version);
  static_assert(letter_header::expected_magic == 0x53525047 && sizeof(letter_header) == 32);
}

TEST_CASE("encode::golden: an old checkpoint loads, and what it holds is written back as it was") {
  if (printing()) return;
  auto const* const file = std::find_if(std::begin(golden::wire), std::end(golden::wire),
                                        [](auto const& g) { return std::string(g.name) == "checkpoint"; });
  REQUIRE(file != std::end(golden::wire));
  auto const bytes = from_hex(file->hex);
  std::stringstream old(std::string(reinterpret_cast<char const*>(bytes.data()), bytes.size()));
  self_communicator alone;
  auto r = make_saver(alone);
  add_saved(r);
  r.load(old);
  CHECK(r.step_number() == 1);
  std::ostringstream again;
  r.save(again);
  CHECK(hex(again.str()) == file->hex);
}
