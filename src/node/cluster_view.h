// The controller's types in the words of the API, and back.
#pragma once

#include "api/cluster.h"
#include "ctrl/apply.h"
#include "node/chart.h"

namespace flux::node {

// What an operator asks, as a command of the controller. kInvalidArgument names what is wrong and what is allowed.
Result<ctrl::Command> to_command(const api::ClusterChange& change, const Chart& chart);
api::ClusterReply to_reply(ctrl::Outcome outcome);

// A configuration as it is shown. Of the chart's own the plans too, and how far the groups are.
api::ClusterView describe(const ctrl::Config& config, const Chart& chart);

// Says of each step that is not done what it waits for, as far as the controller knows.
void add_waits(api::ClusterView& view, const ctrl::State& state);

}  // namespace flux::node
