"""deploy/kubernetes, looked at as a cluster would: `check.py GROUP SIDECLOAK [POSTGRES_URL]`, with GROUP one of

schemas   every object, for each version of Kubernetes that we say we support
objects   what belongs together does, and every finding can be found
chart     what helm makes of good values, and says to bad ones
rules     `sidecloak check` on every sidecloak.yaml and its rules
readme    the commands of the README, with a stand-in for the cluster
runs      the containers of the pods, started here as a kubelet would
"""

import sys
import tempfile

import chart
import objects
import readme
import rendered
import rules
import runs
import schemas

GROUPS = {"schemas": schemas.main, "objects": objects.main, "chart": chart.main, "rules": rules.main, "readme": readme.main, "runs": runs.main}


def main(group, binary, url=None):
    with tempfile.TemporaryDirectory(prefix="sidecloak-kubernetes-") as place:
        GROUPS[group](rendered.Owner.new(), place, binary, url)
    print(f"{group}: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
