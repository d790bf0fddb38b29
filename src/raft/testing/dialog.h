// Raft told as a dialog: a text file of commands, each followed by what it made the nodes think, say and do.
//
//   # What this shows, and why.
//   propose 1 hello
//   deliver 1->2
//   ----
//   1: proposal 1 -> 2^1                         results and effects: "node: what"
//      1->2 t1 append prev=1^1 commit=1 ...      messages, as they leave
//   2> append from 1 ... -> reject, hint=0^0     decisions: "node> cause -> decision"
//
// A blank line ends the output. FLUX_REWRITE=1 writes the outputs anew; read the difference before you keep it.
//
// Commands (nodes are numbers; times like 50ms):
//   voters 3 [learners=1] [OPTION...]            a new group; options: pre-vote=no check-quorum=no lease=100ppm
//                                                window=2 append-bytes=1 lag=5 uncommitted=100 (before or with nodes)
//   node 4 [log=1,1,2] [term=3] [vote=1] [applied=2] [voters=1,2,3] [learners=4]
//                                                one node with a log of these terms
//   elect 1                                      campaign and stabilize, told to nobody
//   campaign 1 | propose 1 TEXT | read 1 [lease] | transfer 1 2
//   change 1 add-voter=4 add-learner=5 promote=5 remove=2
//   deliver 1->2 [n] | deliver all | drop 1->2 | drop all | repeat 1->2
//   cut 1->2 | isolate 1 | heal
//   tick 300ms [nodes...]                        time passes, then these nodes (or all) get a Tick
//   run 2s                                       time passes, timers fire, messages arrive; tells roles only
//   stabilize [quiet]                            everything is delivered and persisted
//   persist 1 [n] | manual-persist 1 | auto-persist 1
//   crash 1 | restart 1 | compact 1 [index]
//   manual-snapshots                             from here on streams are told of, not run
//   stream 1->3 = offer 1->3 (at the receiver) and stream-done 1->3 (at the sender) | fail-stream 1->3
//   leader-gone 2 1 | unreachable 1 2 | reachable 1 2
//   status | log 1 | network
#pragma once

#include <string>

#include "raft/testing/cluster.h"

namespace flux::raft::testing {

// Runs the dialog in `text` and returns it with its outputs as they came out.
std::string run_dialog(const std::string& text);

}  // namespace flux::raft::testing
