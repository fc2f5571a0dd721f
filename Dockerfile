# The viewer: stored runs for anybody who can reach the port; nothing is started, asked or deleted.
#   docker build -t cwac-lab . && docker run -p 8501:8501 cwac-lab
#   docker run -p 8501:8501 -v "$PWD/runs:/runs:ro" cwac-lab --root /runs
FROM python:3.12-slim
WORKDIR /lab
COPY requirements-viewer.txt ./
RUN pip install --no-cache-dir -r requirements-viewer.txt
COPY . .
RUN pip install --no-cache-dir --no-deps . && useradd --create-home viewer
USER viewer
WORKDIR /home/viewer
EXPOSE 8501
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://localhost:8501/_stcore/health')"]
# A Space names its own host in SPACE_HOST; elsewhere, add --allowed-host NAME behind the image's name.
ENTRYPOINT ["sh", "-c", "exec cwac app --read-only --host 0.0.0.0 --port 8501 ${SPACE_HOST:+--allowed-host $SPACE_HOST} \"$@\"", "cwac"]
