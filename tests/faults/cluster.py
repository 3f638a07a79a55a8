"""A real HDFS with two data nodes and a real YARN with two node managers, in one JVM that is driven from here.

Their jars are in build/cluster: `./run-tests.sh --cluster` fetches them.
"""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pyspark
from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway

from tests.conftest import ROOT
from tests.faults.nights import FAULTS, processes
from tests.waiting import until

SPARK_JARS = Path(pyspark.__file__).parent / "jars"
OWN_JARS = ROOT / "build" / "cluster"
# Java's own packages that both access by reflection.
OPENED = [f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "net", "util")]
SETTINGS = {
    "yarn.nodemanager.vmem-check-enabled": "false",
    "yarn.nodemanager.resource.memory-mb": "4096",
    "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99",
    "yarn.scheduler.minimum-allocation-mb": "256",
    "yarn.scheduler.capacity.root.queues": "default",
    "yarn.scheduler.capacity.root.default.capacity": "100",
    # The application masters of several runs at once.
    "yarn.scheduler.capacity.maximum-am-resource-percent": "0.9",
    # A file of one block on both data nodes: one of them may fail.
    "dfs.replication": "2",
    # Whoever runs the tests may act for others.
    f"hadoop.proxyuser.{getpass.getuser()}.hosts": "*",
    f"hadoop.proxyuser.{getpass.getuser()}.groups": "*",
}


class Cluster:
    """Started by the constructor; `stop` ends it with all that runs on it. Its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "conf"
        self.conf.mkdir(parents=True)
        self._gateway = _gateway(folder)
        self.java = self._gateway.jvm
        settings = self.java.org.apache.hadoop.yarn.conf.YarnConfiguration()
        for name, value in SETTINGS.items():
            settings.set(name, value)
        disks = self.java.java.io.File(str(folder / "hdfs"))
        self.hdfs = self.java.org.apache.hadoop.hdfs.MiniDFSCluster.Builder(settings, disks).numDataNodes(2).build()
        self.uri = str(self.hdfs.getURI().toString())
        self.yarn = self.java.org.apache.hadoop.yarn.server.MiniYARNCluster("faults", 1, 2, 1, 1)
        self.yarn.init(settings)
        self.yarn.start()
        self.settings = self.java.org.apache.hadoop.conf.Configuration(self.yarn.getConfig())
        # A class of the cluster's own tests, which Spark does not have.
        self.settings.unset("net.topology.node.switch.mapping.impl")
        self.settings.set("fs.defaultFS", self.uri)
        self.client = self.java.org.apache.hadoop.yarn.client.api.YarnClient.createYarnClient()
        self.client.init(self.settings)
        self.client.start()
        for name in ("core-site.xml", "yarn-site.xml"):
            file = self.java.java.io.FileOutputStream(str(self.conf / name))
            self.settings.writeXml(file)
            file.close()

    def files(self) -> object:
        """Hadoop's DistributedFileSystem."""
        return self.hdfs.getFileSystem()

    def environment(self) -> dict[str, str]:
        return {"HADOOP_CONF_DIR": str(self.conf), "YARN_CONF_DIR": str(self.conf)}

    def spark_settings(self, fault: str = "") -> tuple[str, ...]:
        """One small executor, which finds packages, code and the fault where this machine has them."""
        return (
            f"spark.yarn.jars=local:{SPARK_JARS}/*",
            "spark.executor.instances=1",
            "spark.executor.memory=600m",
            "spark.yarn.am.memory=512m",
            f"spark.executorEnv.PYTHONPATH={FAULTS / 'workers'}{os.pathsep}{ROOT}",
            f"spark.executorEnv.CATALOG_FAULT={fault}",
        )

    def executors(self) -> list[int]:
        """Process ids of the executors' JVMs."""
        return self._java_running("YarnCoarseGrainedExecutorBackend")

    def drivers(self) -> list[int]:
        """Process ids of the JVMs of drivers that run in cluster mode."""
        return self._java_running("yarn.ApplicationMaster")

    def applications(self, state: str) -> list[object]:
        """YARN's reports on the applications in a state, such as RUNNING."""
        states = self.java.java.util.EnumSet.of(
            self.java.org.apache.hadoop.yarn.api.records.YarnApplicationState.valueOf(state)
        )
        return list(self.client.getApplications(states))

    def kill_applications(self) -> None:
        """The same as `yarn application -kill`."""
        for report in self.applications("RUNNING"):
            self.client.killApplication(report.getApplicationId())

    def wait_until_idle(self) -> None:
        until(lambda: not self.applications("RUNNING") and not self.executors(), "the end of the applications on YARN")

    def stop(self) -> None:
        self.client.stop()
        self.yarn.stop()
        self.hdfs.shutdown()
        self._gateway.shutdown()

    def _java_running(self, name: str) -> list[int]:
        # A container's folder is in its command line; its shell's command line contains the whole command too.
        marks = (name, str(self.folder))
        return processes(lambda command, _: command.split(" ")[0].endswith("java") and all(mark in command for mark in marks))


def _gateway(folder: Path) -> JavaGateway:
    home = os.environ.get("JAVA_HOME")
    # Not closed here: the JVM writes to it.
    log = (folder / "log").open("w")
    port, token = launch_gateway(
        jarpath=str(next(SPARK_JARS.glob("py4j-*.jar"))),
        classpath=os.pathsep.join(f"{jars}/*" for jars in (SPARK_JARS, OWN_JARS)),
        javaopts=[*OPENED, "-Xmx600m", "-XX:TieredStopAtLevel=1", f"-Dtest.build.data={folder / 'data'}"],
        java_path=str(Path(home, "bin", "java")) if home else "java",
        die_on_exit=True,
        enable_auth=True,
        redirect_stdout=log,
        redirect_stderr=log,
        cwd=str(folder),
    )
    return JavaGateway(gateway_parameters=GatewayParameters(port=port, auth_token=token))
