// SPDX-License-Identifier: Apache-2.0
#include <gradpress/select/all.hpp>

#include "../concepts/selector_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

// What is a Selector, and what is not.
namespace {
struct no_max_kept {
  static constexpr std::string_view name = "no_max_kept";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;
  template <class Exec>
  void select(step<Exec> const&, in<Exec>, selection<Exec>&) const {}
};
struct no_select {
  static constexpr std::string_view name = "no_select";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;
  std::size_t max_kept(std::size_t n) const { return n; }
};
struct returns_a_count : select_all {
  template <class Exec>
  int select(step<Exec> const&, in<Exec>, selection<Exec>&) const {
    return 0;
  }
};
struct where_is_a_word : select_all {
  static constexpr std::string_view where = "all";
};
struct changes_itself : select_all {
  template <class Exec>
  void select(step<Exec> const&, in<Exec>, selection<Exec>&) {}
};
struct not_copyable : select_all {
  not_copyable(not_copyable const&) = delete;
};
}  // namespace
static_assert(selector<select_all>);
static_assert(!selector<no_max_kept>);
static_assert(!selector<no_select>);
static_assert(!selector<returns_a_count>);
static_assert(!selector<where_is_a_word>);
static_assert(!selector<changes_itself>);
static_assert(!selector<not_copyable>);
static_assert(!selector<int>);
static_assert(select_all{}.max_kept(0) == 0 && select_all{}.max_kept(33) == 33);

TEST_CASE("select::all keeps every entry, whatever it holds") {
  check_selector(select_all{});
  CHECK(run_select(select_all{}, {0.f, -0.f, 3.f, not_finite[0]}) == std::vector<index_t>{0, 1, 2, 3});
  CHECK(describe(select_all{}) == "all");
}
