// SPDX-License-Identifier: Apache-2.0
#include <gradpress/compressor/chooser.hpp>

#include "../support/lone_rank.hpp"

using namespace gradpress;
using namespace gradpress::test;

namespace {

/// Counts the steps that stand; selects nothing.
struct counting {
  using family = family::selector;
  static constexpr std::string_view name = "counting";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = false;
  [[nodiscard]] std::size_t max_kept(std::size_t n) const { return n; }

  template <class Exec>
  struct state {
    std::size_t length;
    int stands = 0, asked = 0;
    state(counting const&, step<Exec> const&, shape d) : length(d.size()) {}
    template <class V>
    void visit(V&& v) {
      v("stands", stands);
    }
    void commit() { ++stands; }
    void undo() { --stands; }
  };
  template <class Exec>
  void select(step<Exec> const&, in<Exec>, selection<Exec>& kept, state<Exec>& s) const {
    kept.count = s.length;
    ++s.asked;
  }
};
static_assert(explain_selector<counting>());

/// A chooser of rounds of 10 coefficients and then 20.
struct chosen {
  lone_rank me;
  counting s;
  detail::chooser<host, counting> choice{s, me.ctx, 20, 10};
  /// How many coefficients the state is for that this selects by.
  std::size_t select(bool last) {
    selection<host> kept;
    choice.in_round(s, last).select(me.ctx, in<host>(), kept);
    return kept.count;
  }
  int stands() {
    int n = -1;
    choice.visit([&](char const*, int x) { n = x; });
    return n;
  }
};

}  // namespace

TEST_CASE("each round has the state of its length, and the last one's is what a checkpoint sees") {
  chosen c;
  c.choice.begin();
  CHECK(c.select(false) == 10);
  CHECK(c.select(true) == 20);
  c.choice.commit();
  CHECK(c.stands() == 1);
}

TEST_CASE("a step in which nothing was selected moves nothing, and taking it back neither") {
  chosen c;
  c.choice.begin();
  c.select(true);
  c.choice.commit();
  c.choice.begin();
  c.choice.commit();
  CHECK(c.stands() == 1);
  c.choice.undo();
  CHECK(c.stands() == 1);
  c.choice.begin();
  c.select(false);
  c.choice.commit();
  CHECK(c.stands() == 1);
}

TEST_CASE("a step is taken back once") {
  chosen c;
  c.choice.begin();
  c.select(true);
  c.choice.commit();
  c.choice.undo();
  CHECK(c.stands() == 0);
  c.choice.undo();
  CHECK(c.stands() == 0);
}

TEST_CASE("made anew it is for other lengths, and has forgotten the step before") {
  chosen c;
  c.choice.begin();
  c.select(true);
  c.choice.commit();
  c.choice.renew(c.s, c.me.ctx, 5, 3);
  c.choice.undo();
  CHECK(c.stands() == 0);
  CHECK(c.select(true) == 5);
  CHECK(c.select(false) == 3);
}
