// SPDX-License-Identifier: Apache-2.0
#include <gradpress/metrics/csv.hpp>

#include <doctest/doctest.h>

#include <sstream>

using namespace gradpress;

TEST_CASE("metrics::csv: one header, then a line a measurement, numbers that read back as the same") {
  std::ostringstream text;
  csv_writer csv{text};
  csv({.tensor = "fc1.weight",
       .step = 7,
       .elements = 1000,
       .bytes_sent = 80,
       .bytes_received = 240,
       .signal = 0.1,
       .left_behind = 1.0 / 3,
       .update_density = 0.025,
       .encode_seconds = 1e-6,
       .decode_seconds = 3e-6,
       .exchange_seconds = 2e-6,
       .assumption = 0.5});
  csv({.tensor = "b", .step = 8});
  CHECK(text.str() ==
        "step,tensor,elements,bytes_sent,bytes_received,ratio,signal_norm,left_behind,update_density,encode_seconds,"
        "exchange_seconds,decode_seconds,assumption_ratio\n"
        "7,fc1.weight,1000,80,240,50,0.1,0.3333333333333333,0.025,1e-06,2e-06,3e-06,0.5\n"
        "8,b,0,0,0,0,0,0,0,0,0,0,\n");
}

TEST_CASE("metrics::csv: names that would break a line are quoted") {
  std::ostringstream text;
  csv_writer csv{text};
  for (auto const name : {"a,b", "say \"x\"", "two\nlines", "plain name"}) csv({.tensor = name});
  auto const all = text.str();
  for (auto const part : {"0,\"a,b\",0", "0,\"say \"\"x\"\"\",0", "0,\"two\nlines\",0", "0,plain name,0"})
    CHECK(all.find(part) != std::string::npos);
}
