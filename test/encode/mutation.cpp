// SPDX-License-Identifier: Apache-2.0
#include <gradpress/encode/message.hpp>

// A million damaged messages against every decoder. A message is refused exactly if its structure is broken or its
// numbers are not finite; what is accepted commits without touching anything outside the gradient. Run it under
// sanitizers to see that nothing outside the message is read either: each stands in a block of its own exact size.

#include <gradpress/compressor.hpp>
#include <gradpress/core/letter.hpp>
#include <gradpress/encode/smallest_index.hpp>
#include <gradpress/exchange/gtop_k.hpp>
#include <gradpress/feedback/ef21.hpp>
#include <gradpress/feedback/error_feedback.hpp>
#include <gradpress/project/low_rank.hpp>
#include <gradpress/quantize/cast.hpp>
#include <gradpress/quantize/log.hpp>
#include <gradpress/quantize/one_magnitude.hpp>
#include <gradpress/quantize/sign.hpp>
#include <gradpress/quantize/sign_bits.hpp>
#include <gradpress/quantize/stochastic_int.hpp>
#include <gradpress/quantize/ternary.hpp>
#include <gradpress/select/adacomp.hpp>
#include <gradpress/select/random_block.hpp>
#include <gradpress/select/random_k.hpp>
#include <gradpress/select/threshold.hpp>
#include <gradpress/select/top_k.hpp>

#include "../support/guarded.hpp"
#include "../support/lone_rank.hpp"

#include <functional>
#include <memory>
#include <random>
#include <string>

using namespace gradpress;
using namespace gradpress::test;

namespace {

using message = std::vector<std::byte>;
long tried = 0, refused = 0, accepted = 0;

class dice {
  std::mt19937_64 random_{20240607};

 public:
  /// In [0, n); 0 if n is 0.
  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(random_() % n); }
  std::uint32_t word() { return static_cast<std::uint32_t>(random_()); }
};

/// What a decoder must be told about the messages of a phase.
struct structure {
  bool counted = false, indexed = false;
  std::size_t most = 0;                             ///< entries
  std::size_t n = 0;                                ///< coefficients
  std::function<std::size_t(std::size_t)> size_of;  ///< bytes for a count
  /// Whether coded indices at an offset are `count` legal ones; index codes have laws of their own. Empty: they are raw.
  std::function<bool(std::byte const* at, std::size_t count)> reads = {};
};

std::uint32_t word_at(message const& m, std::size_t at) {
  std::uint32_t w = 0;
  std::memcpy(&w, m.data() + at, 4);
  return w;
}
void put_word(message& m, std::size_t at, std::uint32_t w) { std::memcpy(m.data() + at, &w, 4); }

/// The rules of the wire page, once more and plainly.
bool well_formed(structure const& s, message const& m) {
  std::size_t count = s.most, at = 0;
  if (s.counted) {
    if (m.size() < 4) return false;
    count = word_at(m, 0), at = 4;
    if (count > s.most) return false;
  }
  if (m.size() != s.size_of(count)) return false;
  if (s.reads) return s.reads(m.data() + at, count);
  for (std::size_t i = 0; s.indexed && i < count; ++i) {
    auto const index = word_at(m, at + 4 * i);
    if (index >= s.n || (i > 0 && index <= word_at(m, at + 4 * i - 4))) return false;
  }
  return true;
}

/// One kind of damage.
void damage(message& m, structure const& s, dice& d) {
  auto const words = m.size() / 4;
  auto const number = [&] {
    std::uint32_t const odd[] = {0,
                                 1,
                                 0x7fffffffu,
                                 0x80000000u,
                                 0xffffffffu,
                                 0x7f800000u,
                                 0xff800000u,
                                 0x7fc00000u,
                                 0x7f7fffffu,
                                 static_cast<std::uint32_t>(s.n),
                                 static_cast<std::uint32_t>(s.n - 1),
                                 static_cast<std::uint32_t>(s.most + 1)};
    return d.below(3) == 0 ? d.word() : odd[d.below(std::size(odd))];
  };
  switch (d.below(10)) {
    case 0:
      for (auto k = 1 + d.below(8); k > 0 && !m.empty(); --k)
        m[d.below(m.size())] ^= static_cast<std::byte>(1u << d.below(8));
      break;
    case 1:
      m.resize(d.below(m.size() + 1));
      break;
    case 2:
      for (auto k = 1 + d.below(12); k > 0; --k) m.push_back(static_cast<std::byte>(d.word()));
      break;
    case 3:
      if (words > 1) {
        auto const a = 4 * d.below(words), b = 4 * d.below(words);
        auto const old = word_at(m, a);
        put_word(m, a, word_at(m, b)), put_word(m, b, old);
      }
      break;
    case 4:
      if (words > 0) put_word(m, 4 * d.below(words), number());
      break;
    case 5:
      if (words > 0) put_word(m, 0, number());
      break;
    case 6:  // an index, or the count, out of place by one
      if (words > 0) {
        auto const at = 4 * d.below(std::min(words, s.most + 1));
        put_word(m, at, word_at(m, at) + (d.below(2) == 0 ? 1u : 0xffffffffu));
      }
      break;
    case 7:  // a duplicate, or two neighbours exchanged
      if (words > 1) {
        auto const at = 4 * d.below(std::min(words - 1, s.most + 1));
        auto const old = word_at(m, at);
        if (d.below(2) == 0) put_word(m, at, word_at(m, at + 4));
        put_word(m, at + 4, old);
      }
      break;
    case 8:  // another count, with the size to it
      if (s.counted) {
        auto const count = d.below(s.most + 2);
        m.resize(s.size_of(count), std::byte{0});
        put_word(m, 0, static_cast<std::uint32_t>(count));
        if (d.below(2) == 0)
          for (std::size_t i = 0; s.indexed && 8 + 4 * i <= m.size() && i < count; ++i)
            put_word(m, 4 + 4 * i, static_cast<std::uint32_t>(i));
      }
      break;
    default:
      for (auto i = d.below(m.size() + 1); i < m.size(); ++i) m[i] = static_cast<std::byte>(d.word());
  }
}

/// A method of two ranks at work, this one's decoder under attack.
struct scene {
  std::string name;
  shape dims;
  std::unique_ptr<coder<host>> mine, theirs;
  message_kind kind;
  bool chunked = false;
  int steps = 1;
  std::function<structure(int phase)> rules;
  std::unique_ptr<lone_rank> here = std::make_unique<lone_rank>(0, 2), there = std::make_unique<lone_rank>(1, 2);
};

template <class Pr, class S, class Q, class F, class X, class I>
scene stage(compressor<Pr, S, Q, F, X, I> const& method, shape d) {
  using coder_type = tensor_coder<host, compressor<Pr, S, Q, F, X, I>>;
  scene s;
  s.name = method.text();
  s.dims = d;
  s.kind = method.kind;
  s.chunked = chunks_tensors<X>;
  s.steps = agreeing<Q> ? 2 : 1;
  s.mine = std::make_unique<coder_type>(method, s.here->ctx, d);
  s.theirs = std::make_unique<coder_type>(method, s.there->ctx, d);
  s.rules = [method, d](int phase) {
    constexpr int steps = agreeing<Q> ? 2 : 1;
    using layout = message_layout<host, S, Q, I>;
    auto const n = method.projector.coefficients(d, phase / steps);
    structure r{layout::counted, layout::indexed, method.selector.max_kept(n), n, {}};
    r.size_of = [q = method.quantizer, i = method.indices, n](std::size_t count) {
      return layout::size(q, i, n, count);
    };
    if constexpr (layout::indexed && !leaves_indices_raw<I>)
      r.reads = [i = method.indices, n](std::byte const* at, std::size_t count) {
        std::vector<index_t> room(count);
        return i.read(at, count, n, room.data());
      };
    return r;
  };
  return s;
}

message encoded(coder<host>& c, lone_rank& r, floats const& g) {
  message room(c.capacity(r.ctx.phase, 2));
  room.resize(c.encode(r.ctx, over(g), bytes<host>(room.data(), room.size())));
  r.release();
  return room;
}

enum class verdict { fine, broken, not_finite };
template <class F>
verdict judge(F const& f) {
  ++tried;
  try {
    f();
  } catch (payload_error const&) {
    ++refused;
    return verdict::broken;
  } catch (non_finite_error const&) {
    ++refused;
    return verdict::not_finite;
  }
  ++accepted;
  return verdict::fine;
}

/// Block of exactly the size of m, so that a sanitizer sees the first byte beyond.
struct block {
  std::size_t size;
  std::unique_ptr<std::byte[]> memory;
  explicit block(message const& m) : size(m.size()), memory(new std::byte[m.size()]) {
    if (size > 0) std::memcpy(memory.get(), m.data(), size);
  }
  [[nodiscard]] in_bytes<host> view() const { return in_bytes<host>(memory.get(), size); }
};

class attack {
  scene& s_;
  dice& d_;
  guarded<float> g_;
  std::string wrong_;

 public:
  attack(scene& s, dice& d) : s_(s), d_(d), g_(s.dims.size()) {}

  std::string run(long rounds) {
    auto const mine = heavy_tailed(s_.dims.size(), 1), theirs = heavy_tailed(s_.dims.size(), 2);
    for (int phase = 0; phase < s_.mine->phases() && wrong_.empty(); ++phase) {
      s_.here->ctx.phase = s_.there->ctx.phase = phase;
      auto const a = encoded(*s_.mine, *s_.here, mine), b = encoded(*s_.theirs, *s_.there, theirs);
      bool const proposes = phase % s_.steps != s_.steps - 1;
      auto const count = rounds / s_.mine->phases();
      if (proposes)
        attack_agreement(a, count);
      else if (s_.chunked)
        attack_chunks(a, count);
      else
        attack_messages(phase, a, b, count);
      if (phase + 1 < s_.mine->phases()) {  // go on from an honest phase
        block const honest(a);
        in_bytes<host> const one[] = {honest.view()};
        arrival<host> const arrived{one, arrival_form::sum};
        s_.mine->accept(s_.here->ctx, arrived), s_.theirs->accept(s_.there->ctx, arrived);
        s_.here->release(), s_.there->release();
      }
    }
    return wrong_;
  }

 private:
  void complain(std::string const& what) {
    if (wrong_.empty()) wrong_ = s_.name + ": " + what;
  }
  /// What check lets pass must go through.
  void take(arrival<host> const& arrived) {
    auto const& ctx = s_.here->ctx;
    s_.here->release();
    if (ctx.phase + 1 < s_.mine->phases()) {
      s_.mine->accept(ctx, arrived);
    } else {
      s_.mine->commit(ctx, view<host>(g_.get(), g_.size()), arrived);
      s_.mine->undo();
    }
    s_.here->release();
    if (!g_.intact()) complain("wrote outside the gradient");
  }

  void attack_messages(int phase, message const& a, message const& b, long rounds) {
    auto const rules = s_.rules(phase);
    bool const sum = s_.kind.combines == combination::sum || s_.kind.combines == combination::merge;
    block const honest(a);
    for (long i = 0; i < rounds && wrong_.empty(); ++i) {
      auto m = b;
      if (i > 0)  // the first is honest
        for (auto k = 1 + d_.below(3); k > 0; --k) damage(m, rules, d_);
      block const damaged(m);
      in_bytes<host> const each[] = {honest.view(), damaged.view()};
      arrival<host> const arrived = sum && d_.below(2) == 0 ? arrival<host>{std::span(each).last(1), arrival_form::sum}
                                                            : arrival<host>{each, arrival_form::each};
      auto const v = judge([&] { s_.mine->check(s_.here->ctx, arrived); });
      if (i == 0 && v != verdict::fine) complain("refused an honest message");
      if (well_formed(rules, m) == (v == verdict::broken)) complain("a wrong verdict on the structure of a message");
      if (v == verdict::fine) take(arrived);
      s_.here->release();
      if (s_.kind.combines == combination::merge && s_.kind.fixed_size) merge(rules, a, damaged, well_formed(rules, m));
    }
  }
  void merge(structure const& rules, message const& a, block const& damaged, bool good) {
    guarded<std::byte> mine(a);
    auto const v =
        judge([&] { s_.mine->merge(s_.here->ctx, bytes<host>(mine.get(), mine.size()), damaged.view(), true); });
    s_.here->release();
    if (good == (v == verdict::broken)) complain("a wrong verdict in a merge");
    if (!mine.intact()) complain("a merge wrote outside the message");
    if (!well_formed(rules, mine.values())) complain("a merge left a broken message");
  }
  /// The sizes of chunks are not the sender's to say: only their bytes are damaged.
  void attack_chunks(message const& a, long rounds) {
    auto const& ctx = s_.here->ctx;
    std::size_t const sizes[] = {s_.mine->chunk_bytes(ctx, 0), s_.mine->chunk_bytes(ctx, 1)};
    auto const cut = a.begin() + static_cast<std::ptrdiff_t>(sizes[0]);
    message const chunks[] = {{a.begin(), cut}, {cut, a.end()}};
    auto const rules = s_.rules(ctx.phase);
    auto const damaged_copy = [&](message const& from, bool honest) {
      auto m = from;
      if (!honest) damage(m, rules, d_);
      m.resize(from.size());
      return block(m);
    };
    for (long i = 0; i < rounds && wrong_.empty(); ++i) {
      auto const first = damaged_copy(chunks[0], i == 0), second = damaged_copy(chunks[1], i == 0);
      in_bytes<host> const both[] = {first.view(), second.view()};
      arrival<host> const arrived{both, arrival_form::chunks};
      auto const v = judge([&] { s_.mine->check(ctx, arrived); });
      if (v == verdict::broken || (i == 0 && v != verdict::fine)) complain("a wrong verdict on chunks");
      if (v == verdict::fine) take(arrived);
      auto const again = damaged_copy(chunks[0], i == 0);
      in_bytes<host> const same[] = {first.view(), again.view()};
      guarded<std::byte> out(sizes[0]);
      judge([&] {
        std::size_t const length = s_.mine->chunk_of(ctx, 0).second;
        guarded<float> mean(length);
        view<host> const floats(mean.get(), length);
        s_.mine->mean_of(ctx, same, floats);
        s_.mine->recode(ctx, 0, floats, bytes<host>(out.get(), out.size()));
        if (!mean.intact()) complain("a mean was written outside its room");
      });
      s_.here->release();
      if (!out.intact()) complain("an encoding of a mean wrote outside its chunk");
    }
  }
  /// Agreed numbers are maxima of fixed size: only their bits are damaged.
  void attack_agreement(message const& a, long rounds) {
    for (long i = 0; i < rounds && wrong_.empty(); ++i) {
      auto m = a;
      if (i > 0)
        put_word(m, 4 * d_.below(m.size() / 4),
                 d_.below(2) == 0 ? d_.word() : 0x7f7fffffu + static_cast<std::uint32_t>(d_.below(3)));
      block const damaged(m);
      in_bytes<host> const one[] = {damaged.view()};
      arrival<host> const arrived{one, arrival_form::sum};
      auto const v = judge([&] { s_.mine->check(s_.here->ctx, arrived); });
      auto const agreed = std::bit_cast<float>(word_at(m, 0));
      if (std::isfinite(agreed * 2) != (v == verdict::fine)) complain("a wrong verdict on an agreement");
      if (v == verdict::fine) take(arrived);
      s_.here->release();
    }
  }
};

template <class... Methods>
void attack_all(long rounds, shape d, Methods const&... methods) {
  dice random;
  auto const one = [&](auto const& method) {
    auto s = stage(method, d);
    CHECK(attack(s, random).run(rounds) == "");
  };
  (one(methods), ...);
}

constexpr long rounds = 26000;
constexpr shape vector{70, 1}, matrix{10, 7};
constexpr threshold above{.tau = 0.3};
constexpr top_k some{.density = 0.2};
constexpr stochastic_int int8{.bits = 8, .block = 64}, int4{.bits = 4, .block = 64}, int2{.bits = 2, .block = 64};
constexpr log_quantizer log8{.bits = 8}, log4{.bits = 4};
constexpr sign sign32{.block = 32};
constexpr error_feedback memory;

}  // namespace

TEST_CASE("mutation: messages of variable size") {
  attack_all(rounds, vector, compress_with(above, memory), compress_with(above, bf16{}),
             compress_with(above, sign32, memory), compress_with(above, int8), compress_with(above, int4),
             compress_with(above, int2), compress_with(above, log8), compress_with(above, log4),
             compress_with(adacomp{.bin = 10}, memory));
}

TEST_CASE("mutation: messages of fixed size with indices, and merges") {
  attack_all(rounds, vector, compress_with(some, memory), compress_with(some, fp16{}, ef21{}),
             compress_with(some, sign32), compress_with(some, int4, memory), compress_with(some, log4),
             compress_with(some, memory, gtop_k{}), compress_with(some, ternary{}));
}

TEST_CASE("mutation: coded indices") {
  attack_all(rounds, vector, compress_with(some, memory, elias_fano{}), compress_with(some, int8, local_index{}),
             compress_with(above, bf16{}, bitmap_index{}), compress_with(above, memory, smallest_index{}));
}

TEST_CASE("mutation: messages without indices, and sums") {
  random_k const drawn{.density = 0.3};
  attack_all(rounds, vector, compress_with(drawn), compress_with(drawn, int2, memory), compress_with(drawn, log8),
             compress_with(random_block{.density = 0.3}, fp16{}), compress_with(sign32, memory), compress_with(int4),
             compress_with(log4), compress_with(one_magnitude{}), compress_with(bf16{}, all_gather{}),
             compress_with(ternary8{}), compress_with(ef21{}));
}

TEST_CASE("mutation: chunks") {
  attack_all(rounds, vector, compress_with(sign32, memory, scatter_reduce{}), compress_with(int4, scatter_reduce{}),
             compress_with(log8, scatter_reduce{}), compress_with(bf16{}, memory),
             compress_with(sign_bits{}, scatter_reduce{}));
}

TEST_CASE("mutation: factors of matrices") {
  attack_all(rounds, matrix, compress_with(low_rank{.rank = 2, .minimum_rate = 0}, memory),
             compress_with(low_rank{.rank = 2, .minimum_rate = 0}, log8, memory),
             compress_with(low_rank{.rank = 3, .minimum_rate = 0}, some, int8, memory),
             compress_with(low_rank{.rank = 2, .minimum_rate = 0}, above, memory));
}

TEST_CASE(
    "mutation: a letter with any damage, in its header or behind it, does not open; nor does one of another step") {
  dice d;
  structure const letters{false, false, 8, 80, [](std::size_t) { return std::size_t{0}; }};
  long wrong = 0;
  for (long i = 0; i < 250000; ++i) {
    lone_rank r;
    r.ctx.number = d.below(3), r.ctx.phase = static_cast<int>(d.below(2));
    message honest(32 + 4 * d.below(20));
    for (auto& b : honest) b = static_cast<std::byte>(d.word());
    letter<host>::seal(r.ctx, bytes<host>(honest.data(), honest.size()));
    auto m = honest;
    bool moved = false;
    switch (d.below(8)) {
      case 0:
      case 1:
        m[d.below(32)] ^= static_cast<std::byte>(1 + d.below(255));
        break;
      case 2:
        ++r.ctx.number, moved = true;
        break;
      case 3:
        r.ctx.phase ^= 1, moved = true;
        break;
      default:
        for (auto k = d.below(4); k > 0; --k) damage(m, letters, d);  // some stay honest
    }
    letter<host> l(message_kind{});
    block const arrived(m);
    ++tried;
    bool const opens = l.opens(r.ctx, arrived.view(), 1);
    ++(opens ? accepted : refused);
    wrong += opens != (m == honest && !moved) ? 1 : 0;
    wrong += opens != l.complaint.empty() ? 1 : 0;
    wrong += !opens && l.complaint.find("the message from rank 1 ") != 0 ? 1 : 0;
  }
  CHECK(wrong == 0);
}

TEST_CASE("mutation: there were enough of them") {
  MESSAGE("tried ", tried, ", refused ", refused, ", accepted ", accepted);
  CHECK(tried >= 1000000);
  CHECK(refused > tried / 4);
  CHECK(accepted > tried / 50);
}
