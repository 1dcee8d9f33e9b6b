package integration

import (
	"os"
	"testing"

	"github.com/weir-stream/weir/integration/kafkatest"
)

func TestMain(m *testing.M) { os.Exit(kafkatest.Main(m)) }
