// LiveView, from the packages' own builds: phoenix.min.js and phoenix_live_view.min.js.
const token = document.querySelector("meta[name='csrf-token']").getAttribute("content")
const socket = new LiveView.LiveSocket("/live", Phoenix.Socket, { params: { _csrf_token: token } })
socket.connect()
