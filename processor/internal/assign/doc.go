// Package assign decides which member of the group gets which task. It is a pure function of
// what the members say about themselves.
//
// What holds for every result:
//
//   - each task that a member of a compatible plan knows is given to exactly one member, or is
//     withheld from all because its last owner has not let go of it yet;
//   - balanced: the numbers of stateful tasks differ by at most one between members of one
//     plan, those of stateless tasks too, and the sums where that is possible;
//   - sticky: no more tasks change their owner than the balance needs;
//   - a free task goes to the member that holds its state where the balance allows it;
//   - a standby of a task is in another process than its owner and the other standbys, and
//     there are as many as asked for while there are processes;
//   - with warm-ups, a stateful task that its owner can keep moves only to a member whose copy
//     is nearly up to date: until then the balance does not hold, and rebalances that follow
//     bring it about;
//   - stable: a result fed back as the claims of the next call does not change.
//
// Moving is cooperative and the unit is the task: a task that changes its owner is withheld
// first, so that the old owner ends its epoch and lets go of all partitions; the rebalance
// that follows gives it to the new one. Two lanes never own a partition of one task.
//
// Plans: members of a rolling deploy may run different plans. Plans are compatible when every
// sub-topology that both have is the same; a task goes only to members whose plan has it. The
// plan that most owners run decides; members that contradict it are refused with a reason.
package assign
