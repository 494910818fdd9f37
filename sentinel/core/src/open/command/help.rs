//! `SENTINEL HELP`.

use duke_resp::Frame;

pub(super) fn sentinel() -> Frame {
    super::lines(TEXT)
}

const TEXT: &str = "\
SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:
CKQUORUM <master-name>
    Whether quorum and majority can be reached just now.
CONFIG SET <param> <value> [<param> <value> ...]
    Change parameters of this sentinel.
CONFIG GET <param> [<param> ...]
    Show parameters of this sentinel.
DEBUG [<param> <value> ...]
    Show or change time constants, in milliseconds.
FAILOVER <master-name> [COORDINATED]
    Replace the master without asking the other sentinels.
FLUSHCONFIG
    Write the configuration file.
GET-MASTER-ADDR-BY-NAME <master-name>
    Address and port of the master.
INFO-CACHE <master-name> [<master-name> ...]
    The last INFO of a master and its replicas.
IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>
    Whether this sentinel finds a master down; with a run id, also its vote.
MASTER <master-name>
    Everything about one master.
MASTERS
    Everything about all masters.
MONITOR <name> <ip> <port> <quorum>
    Watch one more master.
MYID
    The id of this sentinel.
PENDING-SCRIPTS
    Scripts that run or wait.
REMOVE <master-name>
    Watch a master no longer.
REPLICAS <master-name>
    The replicas of a master.
RESET <pattern>
    Forget what was found out about masters whose names match.
SENTINELS <master-name>
    The other sentinels that watch a master.
SET <master-name> <option> <value> [<option> <value> ...]
    Change settings of one master.
SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]
    Crash at a given moment of the next failover.
HELP
    Print this help.";
