"""What a page in a browser looks like once nothing more is to come."""

SETTLED = """() => !document.querySelector('[data-testid=stSkeleton]')
    && document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'"""
