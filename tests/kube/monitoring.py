"""What kube/components/monitoring has of etc/: the alert rules as a PrometheusRule, and the dashboard.

    python -m tests.kube.monitoring --write

Kustomize reads nothing from outside a component, so both stand there once more; a test says when they differ.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_RULES = ROOT / "etc" / "prometheus" / "rules.yaml"
_DASHBOARD = ROOT / "etc" / "grafana" / "pooler.json"
_COMPONENT = ROOT / "kube" / "components" / "monitoring"
_HEAD = """\
# Made of etc/prometheus/rules.yaml by `python -m tests.kube.monitoring --write`: change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pooler
  labels:
    app.kubernetes.io/name: ftp-pooler
spec:
"""


def made() -> dict[Path, str]:
    """Make what should stand in the component: texts by their files."""
    lines = _RULES.read_text().splitlines()
    rules = "".join(f"  {line}".rstrip() + "\n" for line in lines)
    return {
        _COMPONENT / "prometheusrule.yaml": _HEAD + rules,
        _COMPONENT / "dashboard.json": _DASHBOARD.read_text(),
    }


def main() -> None:
    """Write it."""
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    for path, text in made().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
