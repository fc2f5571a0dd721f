"""What ends with the server of ``cwac app``, and what goes on."""

import subprocess
import sys

import psutil

CODE = """
import subprocess, sys
from cwac.ui.server import end_children
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
asked = subprocess.Popen(sleep)
job = subprocess.Popen(sleep, start_new_session=True, stdout=subprocess.DEVNULL, stderr=-3)
end_children()
print(asked.wait(timeout=20), job.poll(), job.pid)
"""


def test_what_pages_ask_ends_with_the_server_and_jobs_go_on() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    status, job_status, job = done.stdout.split()
    psutil.Process(int(job)).kill()
    assert (status, job_status) == ("-9", "None")
